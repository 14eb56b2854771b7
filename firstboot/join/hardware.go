package join

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"picluster/internal/host"
	"picluster/internal/joinapi"
)

// ReadHardware looks at the board. The serial number and the model are in the
// device tree that the firmware hands over (Raspberry Pi documentation, "Device
// trees"); other machines have none.
func ReadHardware(ctx context.Context, h host.Host) (joinapi.Hardware, error) {
	id, err := h.ReadFile(ctx, "/etc/machine-id")
	if err != nil {
		return joinapi.Hardware{}, fmt.Errorf("read hardware: %w", err)
	}
	id = bytes.TrimSpace(id)
	if len(id) != 32 {
		return joinapi.Hardware{}, errors.New("read hardware: /etc/machine-id is not set yet")
	}
	// machine-id(5): it is not to be shown on a network as it is.
	sum := sha256.Sum256(id)
	hw := joinapi.Hardware{MachineID: hex.EncodeToString(sum[:])}
	if hw.Serial, err = firmwareText(ctx, h, "/proc/device-tree/serial-number"); err != nil {
		return joinapi.Hardware{}, err
	}
	if hw.Model, err = firmwareText(ctx, h, "/proc/device-tree/model"); err != nil {
		return joinapi.Hardware{}, err
	}
	if hw.RAM, err = memory(ctx, h); err != nil {
		return joinapi.Hardware{}, err
	}
	hw.MACs, err = boardMACs(ctx, h)
	return hw, err
}

// firmwareText reads a string of the device tree, which ends with a zero byte.
func firmwareText(ctx context.Context, h host.Host, name string) (string, error) {
	data, err := h.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read hardware: %w", err)
	}
	return string(bytes.Trim(data, "\x00\n ")), nil
}

func memory(ctx context.Context, h host.Host) (int64, error) {
	data, err := h.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read hardware: %w", err)
	}
	var kib int64
	if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err != nil {
		return 0, errors.New("read hardware: /proc/meminfo does not begin with MemTotal")
	}
	return kib << 10, nil
}

// boardMACs are the addresses of the two interfaces that a Pi may have on board.
func boardMACs(ctx context.Context, h host.Host) ([]string, error) {
	var macs []string
	for _, name := range []string{"eth0", "wlan0"} {
		data, err := h.ReadFile(ctx, "/sys/class/net/"+name+"/address")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read hardware: %w", err)
		}
		macs = append(macs, string(bytes.TrimSpace(data)))
	}
	slices.Sort(macs)
	return macs, nil
}
