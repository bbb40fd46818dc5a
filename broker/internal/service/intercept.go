package service

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/policy"
)

// metrics counts calls. The keeper counts what they lead to.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	streams prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "broker_calls_total",
			Help: "gRPC calls that ended, by method and code."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "broker_call_seconds",
			Help: "How long unary gRPC calls took.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}, []string{"method"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "broker_streams", Help: "Streams that are open."}),
	}
	r.MustRegister(m.calls, m.seconds, m.streams)
	return m
}

func (m *metrics) ended(method string, err error) {
	m.calls.WithLabelValues(method, status.Code(err).String()).Inc()
}

// short is the method without its service: AcquireToken.
func short(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	start, method := time.Now(), short(info.FullMethod)
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, s.recovered(method)
		}
		s.metrics.seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
		s.metrics.ended(method, err)
	}()
	if err := s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	method := short(info.FullMethod)
	s.metrics.streams.Inc()
	defer func() {
		if r := recover(); r != nil {
			err = s.recovered(method)
		}
		s.metrics.streams.Dec()
		s.metrics.ended(method, err)
	}()
	if err := s.admit(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}

// recovered logs where it happened and not what was panicked with: that may hold anything.
func (s *Server) recovered(method string) error {
	s.Log.Error("panic in a call", "method", method, "stack", string(debug.Stack()))
	return refuse(codes.Internal, "INTERNAL", "", "the broker failed in this call", "report this with the broker's log").Err()
}

// admit refuses callers that did not prove who they are, and shows the list of services to operators and this machine only.
func (s *Server) admit(ctx context.Context, full string) error {
	c := s.callerOf(ctx)
	if c.identity == "" {
		return refuse(codes.Unauthenticated, "CALLER_NOT_AUTHENTICATED", "wrong-config", "the client certificate names nobody",
			"give the worker a certificate with a SPIFFE URI, a DNS name or a common name").Err()
	}
	if strings.HasPrefix(full, "/grpc.reflection.") && !c.local && !s.Directory.Now().Policy.Holds(c.identity, policy.Admin) {
		return denied()
	}
	return nil
}
