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

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/policy"
)

// metrics counts calls. The keeper counts what they lead to.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	streams prometheus.Gauge
	methods map[string]*meter // by full name: those of the server
}

// meter is the meters of one method, found by their labels once and not at every call.
type meter struct {
	method  string // without its service
	ok      prometheus.Counter
	seconds prometheus.Observer // nil for streams
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "broker_calls_total",
			Help: "gRPC calls that ended, by method and code."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "broker_call_seconds",
			Help: "How long unary gRPC calls took.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}, []string{"method"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "broker_streams", Help: "Streams that are open."}),
		methods: map[string]*meter{},
	}
	r.MustRegister(m.calls, m.seconds, m.streams)
	return m
}

// expect makes the meters of all methods; calls of others do not get as far as here.
func (m *metrics) expect(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			full := "/" + service + "/" + method.Name
			m.methods[full] = &meter{method: method.Name, ok: m.calls.WithLabelValues(method.Name, codes.OK.String())}
			if !method.IsClientStream && !method.IsServerStream {
				m.methods[full].seconds = m.seconds.WithLabelValues(method.Name)
			}
		}
	}
}

func (m *metrics) ended(method *meter, err error) {
	if err == nil {
		method.ok.Inc()
		return
	}
	m.calls.WithLabelValues(method.method, status.Code(err).String()).Inc()
}

// short is the method without its service: AcquireToken.
func short(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	start, method := time.Now(), s.metrics.methods[info.FullMethod]
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, s.recovered(method.method)
		}
		method.seconds.Observe(time.Since(start).Seconds())
		s.metrics.ended(method, err)
	}()
	ctx, err = s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	method := s.metrics.methods[info.FullMethod]
	s.metrics.streams.Inc()
	defer func() {
		if r := recover(); r != nil {
			err = s.recovered(method.method)
		}
		s.metrics.streams.Dec()
		s.metrics.ended(method, err)
	}()
	ctx, err := s.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return s.whileProved(ctx, ss, func(ss grpc.ServerStream) error { return next(srv, ss) })
}

// admitted is a stream whose context knows the caller.
type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (a admitted) Context() context.Context { return a.ctx }

// whileProved runs a stream for as long as its caller is proved: a token's stream ends with the token, and the caller comes
// again with the next one, as it does when the server ends streams for other reasons.
func (s *Server) whileProved(ctx context.Context, ss grpc.ServerStream, run func(grpc.ServerStream) error) error {
	until := s.callerOf(ctx).until
	if until.IsZero() {
		return run(admitted{ss, ctx})
	}
	bounded, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := run(admitted{ss, bounded})
	if bounded.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// recovered logs where it happened and not what was panicked with: that may hold anything.
func (s *Server) recovered(method string) error {
	s.Log.Error("panic in a call", "method", method, "stack", string(debug.Stack()))
	return refuse(codes.Internal, "INTERNAL", "", "the broker failed in this call", "report this with the broker's log").Err()
}

// admit finds out who calls, once for each call, and puts it into the context. It refuses callers that did not prove who they
// are, and shows the list of services to operators and this machine only. What it refuses stands in the audit.
func (s *Server) admit(ctx context.Context, full string) (context.Context, error) {
	c, no := s.identify(ctx)
	why := "not authenticated"
	if no == nil && strings.HasPrefix(full, "/grpc.reflection.") && !c.local && !s.Directory.Now().Policy.Holds(c.identity, policy.Admin) {
		no, why = deniedRefusal(), policy.NoRule
	}
	if no != nil {
		return ctx, s.turnAway(ctx, short(full), c, why, no)
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// turnAway writes the audit line of a call that never reached its method.
func (s *Server) turnAway(ctx context.Context, method string, who *caller, why string, no *refusal) error {
	c := &call{server: s, start: time.Now()}
	c.entry = audit.Entry{Time: c.start.UTC(), Request: s.requests.next(), Identity: who.identity, Peer: who.address, Method: method,
		Decision: audit.Deny, Rule: why}
	return c.close(ctx, no)
}
