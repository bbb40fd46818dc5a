package mail

import (
	"io"
	"testing"
)

func TestBytesOpenAgain(t *testing.T) {
	b := Bytes("Subject: x\r\n\r\n")
	for range 2 {
		r, err := b.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != string(b) || b.Size() != int64(len(got)) || r.Close() != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestFolder(t *testing.T) {
	if (Folder{"a@x", "INBOX"}).String() != "a@x/INBOX" {
		t.Error("folder")
	}
}
