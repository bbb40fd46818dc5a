package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// answerWithin bounds every call.
const answerWithin = 30 * time.Second

// outputs are the forms of an answer.
var outputs = []string{"table", "json"}

// target is the broker that a command talks to, and how its answer is printed.
type target struct {
	address  string
	files    daemon.TLSFiles
	token    string // path of a service-account token
	insecure bool
	output   string
	soon     time.Duration // see rowOf; mailbox commands only
}

// flags adds the target's flags to a command and all beneath it; each has an environment variable for its default.
func (t *target) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&t.address, "broker", cmp.Or(os.Getenv("MAILPORTER_BROKER"), "localhost:9443"), "address of the broker ($MAILPORTER_BROKER)")
	f.StringVar(&t.files.Certificate, "certificate", os.Getenv("MAILPORTER_CERTIFICATE"), "your certificate, PEM ($MAILPORTER_CERTIFICATE)")
	f.StringVar(&t.files.Key, "key", os.Getenv("MAILPORTER_KEY"), "its key, PEM ($MAILPORTER_KEY)")
	f.StringVar(&t.files.CA, "ca", os.Getenv("MAILPORTER_CA"), "the CA of the broker's certificate, PEM ($MAILPORTER_CA)")
	f.StringVar(&t.token, "token-file", os.Getenv("MAILPORTER_TOKEN_FILE"), "a service-account token in place of a certificate ($MAILPORTER_TOKEN_FILE)")
	f.BoolVar(&t.insecure, "insecure", false, "plain text, for a broker that was started with -insecure on this machine")
	f.StringVarP(&t.output, "output", "o", "table", "table or json")
	for _, pem := range []string{"certificate", "key", "ca"} {
		_ = c.MarkPersistentFlagFilename(pem, "pem", "crt", "key")
	}
	_ = c.RegisterFlagCompletionFunc("broker", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// call is dial for commands about mailboxes.
func (t *target) call(ctx context.Context, do func(context.Context, brokerv1.MailboxServiceClient) error) error {
	return t.dial(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, brokerv1.NewMailboxServiceClient(conn))
	})
}

// dial connects, calls do, and turns what the broker refuses into words.
func (t *target) dial(ctx context.Context, do func(context.Context, *grpc.ClientConn) error) error {
	if err := oneOf("output", t.output, outputs); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	creds, err := t.credentials(ctx)
	if err != nil {
		return err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256 << 20))}
	if t.token != "" {
		options = append(options, grpc.WithPerRPCCredentials(tokenclient.TokenFile(t.token)))
	}
	conn, err := grpc.NewClient(t.address, options...)
	if err != nil {
		return fmt.Errorf("--broker %s: %w", t.address, err)
	}
	defer conn.Close()
	return explained(do(ctx, conn))
}

func (t *target) credentials(ctx context.Context) (credentials.TransportCredentials, error) {
	if t.insecure {
		if t.token != "" {
			return nil, errors.New("--token-file goes over TLS alone: leave out --insecure")
		}
		return insecure.NewCredentials(), nil
	}
	quiet := slog.New(slog.DiscardHandler)
	if t.token != "" && t.files.Certificate == "" && t.files.Key == "" && t.files.CA != "" {
		conf, err := daemon.RootsTLS(ctx, t.files.CA, t.host(), quiet)
		return asTLS(conf, err)
	}
	for _, flag := range [][2]string{{"certificate", t.files.Certificate}, {"key", t.files.Key}, {"ca", t.files.CA}} {
		if flag[1] == "" {
			return nil, fmt.Errorf("--%s is missing: name a PEM file, or set MAILPORTER_%s", flag[0], strings.ToUpper(flag[0]))
		}
	}
	conf, err := daemon.ClientTLS(ctx, t.files, t.host(), quiet, nil)
	return asTLS(conf, err)
}

// host is what the broker's certificate must name: a host name or an IP address, out of localhost:9443 or dns:///localhost:9443.
func (t *target) host() string {
	endpoint := t.address[strings.LastIndexByte(t.address, '/')+1:]
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host
	}
	return strings.Trim(endpoint, "[]")
}

func asTLS(conf *tls.Config, err error) (credentials.TransportCredentials, error) {
	if err != nil {
		return nil, &wrongError{err}
	}
	return credentials.NewTLS(conf), nil
}

// explained is what the broker said, with its remedy.
func explained(err error) error {
	if err == nil || errors.As(err, new(*wrongError)) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return &wrongError{err}
	}
	text := st.Message()
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetMetadata()["remedy"] != "" {
			text += "; " + info.GetMetadata()["remedy"]
		}
	}
	return &wrongError{fmt.Errorf("the broker says %s: %s", st.Code(), text)}
}
