package csi

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// RegisterKubelet makes a server answer the kubelet, which looks for sockets in its
// directory plugins_registry, where the driver's own socket is. So no container is
// needed for that alone (kubernetes-csi/node-driver-registrar).
func RegisterKubelet(s grpc.ServiceRegistrar, socket string, log *slog.Logger) {
	registration.RegisterRegistrationServer(s, registrar{socket: socket, log: log})
}

type registrar struct {
	registration.UnimplementedRegistrationServer
	socket string
	log    *slog.Logger
}

// GetInfo implements the kubelet's plugin registration. The version is that of the
// CSI specification, of which the kubelet knows only 1.
func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: Name, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus implements the kubelet's plugin registration. The kubelet
// tries again by itself.
func (r registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if s.PluginRegistered {
		r.log.Info("the kubelet knows the driver")
	} else {
		r.log.Warn("the kubelet refuses the driver", "reason", s.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
