package fault

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestKindSurvivesWrapping(t *testing.T) {
	cause := errors.New("535 5.7.3 Authentication unsuccessful")
	for kind, word := range map[Kind]string{
		Temporary: "temporary", Permanent: "permanent", Gone: "gone", Auth: "auth", Throttled: "throttled", InDoubt: "in-doubt", CursorLost: "cursor-lost",
	} {
		err := fmt.Errorf("log in: %w", New(kind, cause))
		if Of(err) != kind || kind.String() != word || !errors.Is(err, cause) {
			t.Errorf("%v: kind %v, word %q", err, Of(err), kind)
		}
		var refused interface{ TokenRefused() bool }
		if !errors.As(err, &refused) || refused.TokenRefused() != (kind == Auth) {
			t.Errorf("%s: whether another token may help is wrong", word)
		}
	}
}

func TestUnknownErrorsAreTemporary(t *testing.T) {
	if Of(errors.New("what?")) != Temporary || Of(nil) != Temporary || Kind(99).String() != "temporary" {
		t.Error("permanence must be proved")
	}
	if New(Permanent, nil) != nil {
		t.Error("no error became one")
	}
}

func TestAfterAndRemedy(t *testing.T) {
	err := fmt.Errorf("send: %w", &Error{Kind: Throttled, After: time.Minute, Remedy: "wait", Err: errors.New("432")})
	if After(err) != time.Minute || After(errors.New("x")) != 0 {
		t.Errorf("after %v", After(err))
	}
	if err.Error() != "send: 432 (wait)" || Newf(Gone, "message %d", 7).Error() != "message 7" {
		t.Error(err)
	}
}
