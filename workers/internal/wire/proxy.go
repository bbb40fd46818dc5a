package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// throughProxy connects to address by way of the proxy at where, a URL.
func throughProxy(ctx context.Context, where, address string) (net.Conn, error) {
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		return nil, errors.New("the proxy is no URL; use http://host:port or socks5://host:port") // the error would show a password
	}
	switch u.Scheme {
	case "http":
		return connectHTTP(ctx, u, address)
	case "socks5", "socks5h": // the proxy resolves the name in both: the worker may have no DNS
		return connectSOCKS(ctx, u, address)
	}
	return nil, fmt.Errorf("proxy scheme %q: use http or socks5", u.Scheme)
}

func connectSOCKS(ctx context.Context, u *url.URL, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if u.User != nil {
		password, _ := u.User.Password()
		auth = &proxy.Auth{User: u.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", u.Host, auth, &net.Dialer{})
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	able, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, fmt.Errorf("proxy %s: cannot be cancelled", u.Host)
	}
	c, err := able.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	return c, nil
}

func connectHTTP(ctx context.Context, u *url.URL, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	if err := tunnel(ctx, c, u, address); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, errors.Join(err, c.Close()))
	}
	return c, nil
}

// tunnel asks the proxy for a tunnel: RFC 9110 section 9.3.6.
func tunnel(ctx context.Context, c net.Conn, u *url.URL, address string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if u.User != nil {
		password, _ := u.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return fmt.Errorf("ask for a tunnel: %w", err)
	}
	head, err := readHead(c)
	if err != nil {
		return fmt.Errorf("ask for a tunnel: %w", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), req)
	if err != nil {
		return fmt.Errorf("ask for a tunnel: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("no tunnel to %s: %s", address, res.Status)
	}
	return nil
}

// maxHead bounds a proxy's answer, in bytes.
const maxHead = 16 << 10

// readHead reads an HTTP head and not one byte more: what follows is the mail server's greeting.
func readHead(r io.Reader) ([]byte, error) {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) == maxHead {
			return nil, errors.New("the answer is too long")
		}
		if _, err := io.ReadFull(r, one); err != nil {
			return nil, err
		}
		head = append(head, one[0])
	}
	return head, nil
}
