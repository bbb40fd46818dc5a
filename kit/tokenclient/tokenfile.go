package tokenclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// largestToken bounds a token file, in bytes: what the broker takes at most. Those of Kubernetes have about 1,200.
const largestToken = 16 << 10

// TokenFile sends the bearer token in a file with every call: a pod's projected service-account token. The file is read for
// each call, because the kubelet replaces it at 80 % of the token's life; a worker calls a few times a minute, and a copy
// in memory would be one more place to be stale in. It travels over TLS alone. What is wrong with the file is the error of
// the call, and names it.
func TokenFile(path string) credentials.PerRPCCredentials { return tokenFile(path) }

type tokenFile string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := f.read()
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "token-file %s: %v; mount a projected service-account token there", string(f), err)
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (tokenFile) RequireTransportSecurity() bool { return true }

// read returns the token without the line break at its end. Its errors hold nothing of the file's content.
func (f tokenFile) read() (string, error) {
	file, err := os.Open(string(f))
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err // the path stands before it already
		}
		return "", err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, largestToken+1))
	token := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", errors.New("it cannot be read")
	case len(b) > largestToken:
		return "", fmt.Errorf("it has more than %d bytes", largestToken)
	case token == "":
		return "", errors.New("it is empty")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", errors.New("it holds more than a token")
	}
	return token, nil
}

// CheckTokenFile says what is wrong with a token file as it is now. It may come later: a volume that is mounted late is no
// mistake of the configuration.
func CheckTokenFile(path string) error {
	_, err := tokenFile(path).read()
	return err
}
