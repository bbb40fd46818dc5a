package token

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mailporter/kit/secret"
)

var born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func lives(life, renewIn time.Duration) Token {
	return Token{Value: secret.New("t"), Sent: born, Expires: born.Add(life), RenewIn: renewIn}
}

func TestZoneAt(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, tc := range map[string]struct {
		life, renewIn, margin, age time.Duration
		jitter                     float64
		want                       Zone
	}{
		"new":                               {life: h, margin: 10 * s, want: Fresh},
		"before three quarters":             {life: h, margin: 10 * s, age: 45*m - s, want: Fresh},
		"at three quarters":                 {life: h, margin: 10 * s, age: 45 * m, want: RenewSoon},
		"just more than the margin":         {life: h, margin: 10 * s, age: h - 10*s - 1, want: RenewSoon},
		"exactly the margin is too little":  {life: h, margin: 10 * s, age: h - 10*s, want: InsideMargin},
		"expired":                           {life: h, margin: 10 * s, age: 2 * h, want: InsideMargin},
		"refresh_in":                        {life: 24 * h, renewIn: 12 * h, margin: 10 * s, age: 12 * h, want: RenewSoon},
		"before refresh_in":                 {life: 24 * h, renewIn: 12 * h, margin: 10 * s, age: 12*h - s, want: Fresh},
		"jitter comes sooner":               {life: h, margin: 10 * s, age: 41 * m, jitter: -0.1, want: RenewSoon},
		"jitter comes later":                {life: h, margin: 10 * s, age: 49 * m, jitter: 0.1, want: Fresh},
		"refresh_in too late leaves 5 min":  {life: h, renewIn: 59 * m, margin: 10 * s, age: 55 * m, want: RenewSoon},
		"two margins are left for trouble":  {life: h, margin: 20 * m, age: 20 * m, want: RenewSoon},
		"before two margins":                {life: h, margin: 20 * m, age: 20*m - s, want: Fresh},
		"short life: not in its first half": {life: 100 * s, margin: 6 * s, age: 46 * s, want: Fresh},
		"short life: in its second half":    {life: 100 * s, margin: 6 * s, age: 47 * s, want: RenewSoon},
		"nearly all margin":                 {life: h, margin: 59 * m, age: 29 * s, want: Fresh},
		"born inside":                       {life: h, margin: h, want: InsideMargin},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lives(tc.life, tc.renewIn).ZoneAt(born.Add(tc.age), tc.margin, tc.jitter); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestZeroTokenIsNeverUsable(t *testing.T) {
	if (Token{Expires: born.Add(time.Hour)}).Usable(born, 0) {
		t.Error("a token without a value was usable")
	}
}

func TestBornInside(t *testing.T) {
	for life, want := range map[time.Duration]bool{59 * time.Second: true, time.Minute: true, 61 * time.Second: false} {
		if got := lives(life, 0).BornInside(time.Minute); got != want {
			t.Errorf("life %s: got %t", life, got)
		}
	}
}

// TestMarginRule holds what must be true of any token, margin and moment.
func TestMarginRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second
		}
		checkRule(t, seconds("life", 100_000), seconds("refresh_in", 100_000), seconds("margin", 3599), seconds("age", 110_000),
			rapid.Float64Range(-jitterShare, jitterShare).Draw(t, "jitter"))
	})
}

func FuzzMarginRule(f *testing.F) {
	f.Add(int32(3600), int32(0), uint16(10), int32(2700), int64(1))
	f.Add(int32(0), int32(-5), uint16(3599), int32(-1), int64(-9))
	f.Fuzz(func(t *testing.T, life, renewIn int32, margin uint16, age int32, generation int64) {
		s := time.Second
		checkRule(t, time.Duration(life)*s, time.Duration(renewIn)*s, time.Duration(margin)*s, time.Duration(age)*s, Jitter(Key{}, generation))
	})
}

func checkRule(t interface{ Fatalf(string, ...any) }, life, renewIn, margin, age time.Duration, jitter float64) {
	tok, now := lives(life, renewIn), born.Add(age)
	zone, renew := tok.ZoneAt(now, margin, jitter), tok.RenewAt(margin, jitter)
	if (zone == InsideMargin) != (tok.Expires.Sub(now) <= margin) {
		t.Fatalf("%s with %s left and a margin of %s", zone, tok.Expires.Sub(now), margin)
	}
	if renew.After(tok.UsableUntil(margin)) {
		t.Fatalf("renews at %s, usable until %s", renew, tok.UsableUntil(margin))
	}
	half := min(share(life-margin, earliestShare), life-margin)
	if renew.Sub(born) < half {
		t.Fatalf("renews after %s of %s", renew.Sub(born), life)
	}
	if reserve := max(2*margin, leastReserve); life-reserve >= share(life-margin, earliestShare) && tok.Expires.Sub(renew) < reserve {
		t.Fatalf("leaves %s, must leave %s", tok.Expires.Sub(renew), reserve)
	}
}

func TestJitterSpreads(t *testing.T) {
	var low, high, sum float64
	const n = 10_000
	for i := range n {
		j := Jitter(Key{Credential: "c", Version: "v", Audience: "a"}, int64(i))
		low, high, sum = min(low, j), max(high, j), sum+j
	}
	if low < -jitterShare || high > jitterShare || low > -0.099 || high < 0.099 || math.Abs(sum/n) > 0.005 {
		t.Errorf("between %f and %f, mean %f", low, high, sum/n)
	}
}

func TestJitterIsOfTheKey(t *testing.T) {
	seen := map[float64]string{}
	for _, k := range []Key{{"c", "v", "a"}, {"cv", "", "a"}, {"c", "va", ""}, {"c", "v", "b"}} {
		j := Jitter(k, 7)
		if j != Jitter(k, 7) {
			t.Errorf("%v: not the same twice", k)
		}
		if other, ok := seen[j]; ok {
			t.Errorf("%v and %s come out alike", k, other)
		}
		seen[j] = fmt.Sprint(k)
	}
}
