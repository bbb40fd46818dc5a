package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"mailporter/workers/internal/program/programtest"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// addDoors gives the worker's file the other ways in; what comes back is the address of gRPC.
func (w *world) addDoors(t *testing.T) string {
	t.Helper()
	path, address := filepath.Join(w.dir, "worker.yaml"), programtest.FreeAddress(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("intake: {"), fmt.Appendf(nil, "intake: {grpc: {listen: %q, insecure: true}, folder: drop, ", address), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return address
}

// drop puts a letter into the drop folder.
func (w *world) drop(t *testing.T, n int) {
	t.Helper()
	text := append(fmt.Appendf(nil, "X-Sender: %s\r\nX-Receiver: %s\r\n", mailboxes[n%3], inbox), letter(n)...)
	temporary := filepath.Join(w.dir, fmt.Sprintf("%d.tmp", n))
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(w.dir, "drop", fmt.Sprintf("%d.eml", n))); err != nil {
		t.Fatal(err)
	}
}

func dialOutbox(t *testing.T, address string) outboxv1.OutboxServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return outboxv1.NewOutboxServiceClient(conn)
}

// handOver submits a letter under its number.
func handOver(ctx context.Context, c outboxv1.OutboxServiceClient, n int) (id string, err error) {
	stream, err := c.Submit(ctx)
	if err != nil {
		return "", err
	}
	header := &outboxv1.SubmissionHeader{RequestId: fmt.Sprint(n), SizeBytes: int64(len(letter(n))),
		Envelope: &outboxv1.Envelope{Sender: mailboxes[n%3], Recipients: []*outboxv1.Recipient{{Address: inbox}}}}
	// Errors of Send come back from CloseAndRecv.
	_ = stream.Send(&outboxv1.SubmitRequest{Part: &outboxv1.SubmitRequest_Header{Header: header}})
	_ = stream.Send(&outboxv1.SubmitRequest{Part: &outboxv1.SubmitRequest_Chunk{Chunk: letter(n)}})
	answer, err := stream.CloseAndRecv()
	return answer.GetId(), err
}

// TestEveryDoor: what goes in by SMTP, by gRPC or as a file arrives, byte for byte and once.
func TestEveryDoor(t *testing.T) {
	const n = 45
	w := newWorld(t)
	c := dialOutbox(t, w.addDoors(t))
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	ids := map[string]bool{}
	for i := range n {
		switch i / 3 % 3 {
		case 0:
			if taken, err := w.submit(i); taken != 1 {
				t.Fatal(err)
			}
		case 1:
			id, err := handOver(t.Context(), c, i)
			if err != nil {
				t.Fatal(err)
			}
			ids[id] = true
		case 2:
			w.drop(t, i)
		}
	}
	programtest.WaitFor(t, "the last letter", func() bool { return len(w.arrived(t)) >= n })
	if doubled := w.mustHaveAll(t, n); doubled != 0 {
		t.Errorf("%d letters arrived twice", doubled)
	}
	programtest.WaitFor(t, "an empty outbox", func() bool { return strings.TrimSpace(w.ask("/outbox")) == "[]" })
	for id := range ids {
		answer, err := c.GetSubmission(t.Context(), &outboxv1.GetSubmissionRequest{Id: id})
		if err != nil || answer.GetSubmission().GetRecipients()[0].GetState() != outboxv1.RecipientState_RECIPIENT_STATE_SENT {
			t.Errorf("%v, %v", answer, err)
		}
	}
}

// TestKilledAtTheDoors kills the worker's process while files are taken and calls answered. What was dropped or acknowledged
// arrives.
func TestKilledAtTheDoors(t *testing.T) {
	const n, kills = 60, 3
	w := newWorld(t)
	c := dialOutbox(t, w.addDoors(t))
	worker := w.spawn(t)
	for i := range n / 2 {
		w.drop(t, i)
	}
	var calls sync.WaitGroup
	for lane := range 3 {
		calls.Go(func() {
			for i := n/2 + lane; i < n; i += 3 {
				programtest.WaitFor(t, "an answer", func() bool {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					_, err := handOver(ctx, c, i)
					return err == nil
				})
			}
		})
	}
	for k := range kills {
		programtest.WaitFor(t, "some mail", func() bool { return len(w.arrived(t)) > k*n/(kills+1) })
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // killed, as said
		worker = w.spawn(t)
	}
	calls.Wait()
	programtest.WaitFor(t, "the last letter", func() bool { return len(w.arrived(t)) >= n })
	programtest.WaitFor(t, "an empty outbox", func() bool { return strings.TrimSpace(w.ask("/outbox")) == "[]" })
	doubled := w.mustHaveAll(t, n)
	t.Logf("%d of %d arrived twice", doubled, n)
	if doubled > kills*9 { // three mailboxes, three messages on their way out of each
		t.Errorf("%d letters arrived twice", doubled)
	}
	// The outbox numbers what it takes, and whatever was handed in twice was one message.
	if id, err := handOver(t.Context(), c, n); err != nil || id != fmt.Sprint(n+1) {
		t.Errorf("the outbox took %s messages of %d, %v", id, n+1, err)
	}
	// A worker that was killed between the outbox's yes and the file's removal finds the file again, and removes it in its turn.
	programtest.WaitFor(t, "an empty folder", func() bool {
		left, err := filepath.Glob(filepath.Join(w.dir, "drop", "*.eml"))
		return len(left) == 0 && err == nil
	})
}
