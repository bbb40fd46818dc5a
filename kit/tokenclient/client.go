package tokenclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/daemon"
)

// Config says how to reach the broker.
type Config struct {
	Address   string                // gRPC target: broker:9443, or dns:///broker:9443 to spread over all its addresses
	TLS       daemon.TLSFiles       // this worker's certificate and the CA of the broker's; the CA alone if there is a TokenFile
	TokenFile string                // path of a service-account token that says who the worker is; empty = the certificate does
	Insecure  bool                  // plain text; loopback only
	Metrics   prometheus.Registerer // for the certificate's expiry; may be nil
	Dialer    Dialer                // instead of TCP; may be nil
}

// Dialer opens a connection to an address of the target.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// Client asks a broker, over one connection to each of its replicas. It is safe for use by many goroutines.
type Client struct {
	conn      *grpc.ClientConn
	tokens    brokerv1.TokenServiceClient
	mailboxes brokerv1.MailboxServiceClient
	log       *slog.Logger
	stop      context.CancelFunc
}

var _ Broker = (*Client)(nil)

// answerWithin bounds a call whose context has no deadline: calls wait for a broker that is away.
const answerWithin = 30 * time.Second

// largestAnswer bounds an answer, in bytes: the settings of 100,000 mailboxes are one message of about 30 MB, far more
// than gRPC's default of 4 MB.
const largestAnswer = 256 << 20

// The broker allows a ping every 10 s. 20 s finds a dead peer well before a worker's own time-outs do.
var pings = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}

// Unary calls may be repeated: the broker answers the same ask alike, and a second report of a refused token says
// AlreadyReplaced. RESOURCE_EXHAUSTED is not retried: whoever asks too often must hear it.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [{"service": "mailporter.broker.v1.TokenService"}],
		"waitForReady": true,
		"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 3, "retryableStatusCodes": ["UNAVAILABLE"]}
	}]
}`

// Dial prepares a client; it connects with the first call. Errors are about the configuration alone: files that cannot
// be used, or plain text to somewhere else than loopback. Close it when done.
func Dial(c Config, log *slog.Logger) (*Client, error) {
	ctx, stop := context.WithCancel(context.Background())
	creds, err := c.credentials(ctx, log)
	if err != nil {
		stop()
		return nil, fmt.Errorf("dial broker: %w", err)
	}
	conn, err := grpc.NewClient(c.Address, c.options(creds)...)
	if err != nil {
		stop()
		return nil, fmt.Errorf("dial broker %s: %w", c.Address, err)
	}
	return &Client{
		conn:      conn,
		tokens:    brokerv1.NewTokenServiceClient(conn),
		mailboxes: brokerv1.NewMailboxServiceClient(conn),
		log:       log,
		stop:      stop,
	}, nil
}

// Close ends all calls and connections.
func (c *Client) Close() error {
	c.stop()
	return c.conn.Close()
}

func (c Config) options(creds credentials.TransportCredentials) []grpc.DialOption {
	redial := backoff.DefaultConfig
	redial.MaxDelay = 5 * time.Second // the default of two minutes would outlast any restart of the broker
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(), // none from DNS records
		grpc.WithKeepaliveParams(pings),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: 5 * time.Second}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer)),
	}
	if c.TokenFile != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(TokenFile(c.TokenFile)))
	}
	if c.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(c.Dialer))
	}
	return opts
}

func (c Config) credentials(ctx context.Context, log *slog.Logger) (credentials.TransportCredentials, error) {
	host := c.host()
	if c.Insecure {
		if c.TokenFile != "" {
			return nil, errors.New("a token file needs tls: the token must not travel in the clear")
		}
		if c.Dialer == nil && !loopback(host) {
			return nil, fmt.Errorf("%s is not on loopback: plain text would show every token; configure tls", c.Address)
		}
		return insecure.NewCredentials(), nil
	}
	if host == "" {
		return nil, errors.New("the address names no host to verify the certificate against")
	}
	conf, err := c.tls(ctx, host, log)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(conf), nil
}

// tls shows the worker's certificate, unless there is none because a token says who it is.
func (c Config) tls(ctx context.Context, host string, log *slog.Logger) (*tls.Config, error) {
	if c.TokenFile != "" && c.TLS.Certificate == "" && c.TLS.Key == "" {
		return daemon.RootsTLS(ctx, c.TLS.CA, host, log)
	}
	return daemon.ClientTLS(ctx, c.TLS, host, log, c.Metrics)
}

// host is the host of the target, whatever its scheme: dns:///broker:9443, dns://8.8.8.8/broker:9443, 127.0.0.1:9443.
func (c Config) host() string {
	endpoint := c.Address
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		_, endpoint, _ = strings.Cut(rest, "/")
	} else {
		endpoint = strings.TrimPrefix(endpoint, "dns:")
	}
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host
	}
	return strings.Trim(endpoint, "[]")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Acquire implements Broker.
func (c *Client) Acquire(ctx context.Context, a Ask) (Token, error) {
	const op = "acquire token"
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.tokens.AcquireToken(ctx, askMessage(a))
	if err != nil {
		return Token{}, fromStatus(ctx, op, a, err)
	}
	tok, problem := fromAnswer(res, time.Now())
	if problem != "" {
		return Token{}, badAnswer(op, a, problem)
	}
	return tok, nil
}

// Reject implements Broker.
func (c *Client) Reject(ctx context.Context, a Ask, t Token, r Refusal) (Outcome, error) {
	const op = "report refused token"
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.tokens.ReportRejection(ctx, rejectMessage(a, t, r))
	if err != nil {
		return Outcome{}, fromStatus(ctx, op, a, err)
	}
	out := fromOutcome(res)
	if out.Kind < AlreadyReplaced || out.Kind > Suppressed {
		return Outcome{}, badAnswer(op, a, "an outcome that this version does not know")
	}
	return out, nil
}

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, answerWithin)
}
