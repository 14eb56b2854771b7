package join

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"picluster/internal/joinapi"
)

// Times of one connection. A handshake takes a Pi 3 a few hundredths of a second.
const (
	handshakeTime = 5 * time.Second
	requestTime   = 10 * time.Second
	answerTime    = time.Minute // the API server may be slow
	idleTime      = 15 * time.Second
)

// Serve answers on a listener until ctx ends. Who has no certificate that leads to
// the enrolment CA gets no further than the handshake.
func (s *Service) Serve(ctx context.Context, l net.Listener) error {
	config, err := s.tlsConfig()
	if err != nil {
		return fmt.Errorf("serve joins: %w", err)
	}
	g := newGuard(l)
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: handshakeTime, // of the handshake, too
		ReadTimeout:       requestTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug), // mostly scans of the port
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err = server.Serve(tls.NewListener(g, config))
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve joins: %w", err)
}

// tlsConfig makes each connection prove itself anew: no tickets.
func (s *Service) tlsConfig() (*tls.Config, error) {
	j := s.options.Config.Join.Service
	pair, err := tls.X509KeyPair([]byte(j.Certificate), []byte(j.Key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("read certificate of the join service: %w", err)
	}
	base := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		g, isGuarded := hello.Conn.(*guarded)
		if isGuarded {
			g.speaks()
		}
		c := base.Clone()
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if _, err := s.identify(state.PeerCertificates); err != nil {
				return err
			}
			if isGuarded {
				g.known()
			}
			return nil
		}
		return c, nil
	}
	return base, nil
}

func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/enroll", answer(s, maxBody, func(_ context.Context, c caller, q joinapi.EnrollRequest) (any, error) { return s.enroll(c, q) }))
	mux.Handle("POST /v1/join", answer(s, maxBody, func(ctx context.Context, c caller, q joinapi.JoinRequest) (any, error) { return s.join(ctx, c, q) }))
	mux.Handle("POST /v1/joined", answer(s, maxBody, func(ctx context.Context, c caller, q joinapi.JoinedRequest) (any, error) {
		return nil, s.joined(ctx, c, q)
	}))
	mux.Handle("POST /v1/renew", answer(s, maxBody, func(_ context.Context, c caller, q joinapi.RenewRequest) (any, error) { return s.renew(c, q) }))
	mux.Handle("POST /v1/events", answer(s, maxEvent, func(_ context.Context, c caller, q joinapi.Event) (any, error) { return s.event(c, q) }))
	mux.Handle("GET /v1/cards", answer(s, 0, func(_ context.Context, c caller, _ struct{}) (any, error) { return s.cardList(c) }))
	mux.HandleFunc("POST /v1/cards/{card}/{action}", func(w http.ResponseWriter, r *http.Request) {
		card, action := r.PathValue("card"), r.PathValue("action")
		answer(s, 0, func(ctx context.Context, c caller, _ struct{}) (any, error) { return nil, s.act(ctx, c, card, action) }).ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, r *http.Request) {
		c, err := s.caller(r)
		if err == nil {
			err = s.writeAudit(c, w)
		}
		if err != nil {
			writeRefusal(w, refusalOf(s.options.Log, err))
		}
	})
	return mux
}

// answer reads a request of at most limit bytes, none if limit is 0, and writes
// what call says. Fields that it does not know are not looked at: a role that a
// card asks for is one of them.
func answer[Q any](s *Service, limit int64, call func(context.Context, caller, Q) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		var body any
		c, err := s.caller(r)
		if err == nil && limit > 0 {
			if json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(&q) != nil {
				err = refuse(joinapi.BadRequest, "the request is not readable, or longer than %d bytes", limit)
			}
		}
		if err == nil {
			body, err = call(r.Context(), c, q)
		}
		if err != nil {
			writeRefusal(w, refusalOf(s.options.Log, err))
			return
		}
		writeJSON(w, http.StatusOK, body)
	}
}

// caller says who asks, and counts.
func (s *Service) caller(r *http.Request) (caller, error) {
	p, err := s.identify(r.TLS.PeerCertificates)
	if err != nil {
		return caller{}, refuse(joinapi.NotAllowed, "the certificate is not one of this cluster")
	}
	c := caller{p, r.RemoteAddr}
	if p.kind == operatorKind && p.expired(s.now()) {
		return c, refuse(joinapi.NotAllowed, "the operator's certificate expired on %s", p.notAfter.Format(time.DateOnly))
	}
	if seconds := s.limits.call(p, r.URL.Path == "/v1/events"); seconds > 0 {
		refusal := refuse(joinapi.TooManyRequests, "card %s asks too often", p.cardID)
		refusal.RetryAfter = seconds
		return c, refusal
	}
	return c, nil
}

// refusalOf makes an answer of an error. What is wrong with node0 is worth a line
// on the other Pi's status page: it waits for that.
func refusalOf(log *slog.Logger, err error) *joinapi.Refusal {
	var refusal *joinapi.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	log.Error("join service", "error", err)
	return refuse(joinapi.Unavailable, "the join service is in trouble: %v", err)
}

var statusCodes = map[joinapi.Reason]int{
	joinapi.BadRequest: http.StatusBadRequest, joinapi.AlreadyJoined: http.StatusConflict, joinapi.NotYourNode: http.StatusConflict, joinapi.NoNode: http.StatusConflict,
	joinapi.TooManyRequests: http.StatusTooManyRequests, joinapi.NoSuchCard: http.StatusNotFound, joinapi.Unavailable: http.StatusServiceUnavailable,
}

func writeRefusal(w http.ResponseWriter, refusal *joinapi.Refusal) {
	code, ok := statusCodes[refusal.Reason]
	if !ok {
		code = http.StatusForbidden
	}
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(refusal.RetryAfter))
	}
	writeJSON(w, code, refusal)
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body) // a client that has gone asks again
}
