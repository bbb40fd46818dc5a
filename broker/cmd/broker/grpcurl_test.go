package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"mailporter/kit/certtest"
)

// answers is what must stand in the answer to each line of the manual.
var answers = map[string]string{
	"mailporter.broker.v1.TokenService/AcquireToken":     "accessToken",
	"mailporter.broker.v1.TokenService/WatchTokens":      "accessToken",
	"mailporter.broker.v1.TokenService/ReportRejection":  "REJECTION_OUTCOME_ALREADY_REPLACED",
	"mailporter.broker.v1.MailboxService/WatchMailboxes": "support@contoso.com",
	"mailporter.broker.v1.MailboxService/ListMailboxes":  "{",
	"mailporter.broker.v1.MailboxService/GetMailbox":     "STATE_HEALTHY",
	"mailporter.broker.v1.MailboxService/CheckMailbox":   "STATE_HEALTHY",
	"mailporter.broker.v1.MailboxService/ResetMailbox":   "STATE_HEALTHY",
	"mailporter.broker.v1.EnrollmentService/Create":      "this version of the broker cannot ask a person for consent",
	"mailporter.broker.v1.EnrollmentService/Get":         "this version of the broker cannot ask a person for consent",
	"mailporter.broker.v1.EnrollmentService/Watch":       "this version of the broker cannot ask a person for consent",
	"mailporter.broker.v1.EnrollmentService/Cancel":      "this version of the broker cannot ask a person for consent",
	"grpc.health.v1.Health/Check":                        "SERVING",
	"list":                                               "mailporter.broker.v1.TokenService",
	"mailporter.broker.v1.TokenService.AcquireToken":     "AcquireTokenRequest",
}

// line is one grpcurl command of the manual.
type line struct {
	text     string // as printed, on one line
	operator bool   // with the operator's certificate, not the worker's
	data     string // JSON
	target   string // service/method, list, or what to describe
}

var payload = regexp.MustCompile(` -d '([^']*)'`)

// manual reads the grpcurl lines of the README.
func manual(t *testing.T) []line {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "## Ask it by hand")
	section, _, _ = strings.Cut(section, "\n## ")
	var all []line
	for text := range strings.Lines(strings.ReplaceAll(section, "\\\n", " ")) {
		text = strings.TrimSpace(text)
		if !strings.HasPrefix(text, "grpcurl ") {
			continue
		}
		words := strings.Fields(text)
		l := line{text: text, operator: words[1] == "$A", target: words[len(words)-1]}
		if m := payload.FindStringSubmatch(text); m != nil {
			l.data = m[1]
		}
		all = append(all, l)
	}
	return all
}

// manualSite serves the mailbox of the manual to its worker and its operator.
func manualSite(t *testing.T) *site {
	t.Helper()
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.write("mailboxes.d/manual.yaml", "mailboxes: [{address: support@contoso.com, application: service, pop-client: {}}]\n")
	s.write("policy.yaml", policy+operatorRule+"  - {identity: \"spiffe://mail.example/worker\", mailboxes: [support@contoso.com], verbs: [token, settings, report], tenant-wide: true}\n")
	for name, uri := range map[string]string{"worker": worker, "operator": operator} {
		pair := s.issue(certtest.Options{CommonName: name, URI: uri})
		s.write("tls/"+name+".pem", string(pair.Certificate))
		s.write("tls/"+name+"-key.pem", string(pair.Key))
	}
	s.start()
	return s
}

// TestManual runs every grpcurl line of the README as grpcurl does: by reflection, knowing nothing of the contract. With
// TEST_GRPCURL=path of grpcurl the lines go through a shell, as printed.
func TestManual(t *testing.T) {
	s := manualSite(t)
	say := s.speak
	if path := os.Getenv("TEST_GRPCURL"); path != "" {
		say = func(l line) string { return s.shell(path, l) }
	}
	var called []string
	for _, l := range manual(t) {
		t.Run(l.target, func(t *testing.T) {
			want, known := answers[l.target]
			got := say(l)
			if !known || !strings.Contains(got, want) {
				t.Fatalf("%s\nwant %q in\n%s", l.text, want, got)
			}
		})
		called = append(called, l.target)
	}
	for _, m := range s.learn(operator).methods() {
		if !slices.Contains(called, m) {
			t.Errorf("the manual does not show %s", m)
		}
	}
}

// shell runs a line as printed.
func (s *site) shell(grpcurl string, l line) string {
	s.t.Helper()
	const variables = `T="-cacert tls/ca.pem -cert tls/worker.pem -key tls/worker-key.pem"; A="-cacert tls/ca.pem -cert tls/operator.pem -key tls/operator-key.pem"; `
	cmd := exec.Command("sh", "-c", variables+strings.NewReplacer("127.0.0.1:9443", s.addr, "grpcurl $", grpcurl+" $").Replace(l.text))
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.t.Fatal(err)
	}
	return string(out)
}

// speak does what grpcurl does with a line.
func (s *site) speak(l line) string {
	s.t.Helper()
	identity := worker
	if l.operator {
		identity = operator
	}
	c := s.learn(identity)
	switch service, method, isCall := strings.Cut(l.target, "/"); {
	case isCall:
		return c.call(service, method, l.data)
	case l.target == "list":
		return strings.Join(c.services, "\n")
	default:
		d, err := c.files.FindDescriptorByName(protoreflect.FullName(l.target))
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(d.(protoreflect.MethodDescriptor).Input().FullName())
	}
}

// reflected is a connection to a server whose contract was learnt from the server itself.
type reflected struct {
	t        *testing.T
	conn     *grpc.ClientConn
	services []string
	files    *protoregistry.Files
}

// learn connects as the identity and asks for the contract.
func (s *site) learn(identity string) *reflected {
	s.t.Helper()
	cert, err := s.issue(certtest.Options{CommonName: "x", URI: identity}).TLS()
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.ca.Pool(), Certificates: []tls.Certificate{cert}})))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	c := &reflected{t: s.t, conn: conn}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	list := c.ask(stream, &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	known := map[string]*descriptorpb.FileDescriptorProto{}
	for _, service := range list.GetListServicesResponse().GetService() {
		c.services = append(c.services, service.GetName())
		resp := c.ask(stream, &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service.GetName()}})
		c.collect(known, resp.GetFileDescriptorResponse().GetFileDescriptorProto())
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range known {
		set.File = append(set.File, f)
	}
	if c.files, err = protodesc.NewFiles(set); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (c *reflected) ask(stream reflectionv1.ServerReflection_ServerReflectionInfoClient, req *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
	c.t.Helper()
	if err := stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *reflected) collect(known map[string]*descriptorpb.FileDescriptorProto, files [][]byte) {
	c.t.Helper()
	for _, b := range files {
		f := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(b, f); err != nil {
			c.t.Fatal(err)
		}
		known[f.GetName()] = f
	}
}

// methods are all of ours, as service/method.
func (c *reflected) methods() []string {
	var all []string
	for _, name := range c.services {
		d, err := c.files.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			c.t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			if strings.HasPrefix(name, "mailporter.") {
				all = append(all, name+"/"+string(methods.Get(i).Name()))
			}
		}
	}
	return all
}

// call sends JSON and returns the first message of the answer as JSON, or what the server refused with.
func (c *reflected) call(service, method, data string) string {
	c.t.Helper()
	d, err := c.files.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return err.Error()
	}
	m := d.(protoreflect.MethodDescriptor)
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if data != "" {
		if err := protojson.Unmarshal([]byte(data), in); err != nil {
			return err.Error()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer()}, "/"+service+"/"+method)
	if err == nil {
		err = stream.SendMsg(in)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err == nil {
		err = stream.RecvMsg(out)
	}
	if err != nil {
		return status.Convert(err).Message()
	}
	return protojson.Format(out)
}
