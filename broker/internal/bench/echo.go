package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/daemon"
)

// echoRole is the first argument by which this program starts itself as the bare server.
const echoRole = "echo"

// echo answers every call alike.
type echo struct {
	brokerv1.UnimplementedTokenServiceServer
	answer *brokerv1.AcquireTokenResponse
}

// AcquireToken answers.
func (e *echo) AcquireToken(context.Context, *brokerv1.AcquireTokenRequest) (*brokerv1.AcquireTokenResponse, error) {
	return e.answer, nil
}

// madeUp is an answer with a token of so many bytes that opens nothing.
func madeUp(tokenBytes int, user string) *brokerv1.AcquireTokenResponse {
	value := strings.Repeat(rand.Text(), tokenBytes/len(rand.Text())+1)[:tokenBytes]
	sum, now := sha256.Sum256([]byte(value)), time.Now()
	return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: &brokerv1.AccessToken{
		Value: value, SaslUser: user, Mechanism: brokerv1.Mechanism_MECHANISM_XOAUTH2, Fingerprint: sum[:], Generation: now.UnixMilli(),
		ExpireTime: timestamppb.New(now.Add(time.Hour)), UsableUntil: timestamppb.New(now.Add(time.Hour)), RenewTime: timestamppb.New(now.Add(time.Hour)),
		ValidFor: durationpb.New(time.Hour - time.Nanosecond), UsableFor: durationpb.New(time.Hour - time.Nanosecond),
	}}}
}

// serveEcho is the program in its other role: -listen ADDRESS -tls FOLDER -token-bytes N, until ctx ends.
func serveEcho(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(echoRole, flag.ContinueOnError)
	listen := flags.String("listen", "", "address")
	folder := flags.String("tls", "", "folder of the certificates")
	size := flags.Int("token-bytes", 0, "length of the token in the answers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files := daemon.TLSFiles{Certificate: filepath.Join(*folder, "server.pem"), Key: filepath.Join(*folder, "server-key.pem"), CA: filepath.Join(*folder, "ca.pem")}
	conf, err := daemon.ServerTLS(ctx, files, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	brokerv1.RegisterTokenServiceServer(server, &echo{answer: madeUp(*size, address(0))})
	daemon.SpareHeap(64 << 20) // as the broker does
	context.AfterFunc(ctx, server.Stop)
	return server.Serve(l)
}

// startEcho starts the bare server, and returns the port where it listens.
func (st *stage) startEcho(ctx context.Context, tokenBytes int) (*process, int, error) {
	var port int
	if err := freePorts(&port); err != nil {
		return nil, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	p, _, err := st.start(ctx, echoRole, listening(listen), self, echoRole, "-listen", listen, "-tls", st.path("tls"), "-token-bytes", fmt.Sprint(tokenBytes))
	return p, port, err
}

// listening says whether somebody accepts connections at the address.
func listening(address string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
}
