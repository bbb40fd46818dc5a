package wire

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// Answer is what a token endpoint gave.
type Answer struct {
	Token   token.Token
	Refresh secret.String // empty: none came
}

// seconds is a number of seconds that may come as a JSON number or as a string (RFC 6749 section 5.1 wants a number).
type seconds struct{ d time.Duration }

// longest bounds lives: Entra's longest token lives 28 hours.
const longest = 366 * 24 * time.Hour

// UnmarshalJSON takes 3599, "3599" and 3599.0.
func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > longest.Seconds() {
		return errors.New("no number of seconds")
	}
	s.d = time.Duration(n) * time.Second
	return nil
}

// Result reads the exchange. err is what the library made of it; it counts only where no answer came, and none of its
// text gets out. The error is a *remedy.Fault.
func (x *Exchange) Result(t *remedy.Table, about remedy.About, err error) (Answer, error) {
	x.mu.Lock()
	e := x.last
	x.mu.Unlock()
	return e.result(t, about, err)
}

func (e exchange) result(t *remedy.Table, about remedy.About, err error) (Answer, error) {
	switch {
	case errors.Is(e.err, errTooLarge):
		return Answer{}, remedy.Garbled(0, errTooLarge.Error())
	case errors.Is(e.err, errNotAllowed):
		return Answer{}, notAllowedHost(about, e.host)
	case e.err != nil:
		return Answer{}, remedy.FromError(about, e.err)
	case e.status == 0:
		return Answer{}, remedy.FromError(about, err)
	}
	if e.status == http.StatusOK {
		if a, detail := e.read(); detail == "" {
			return a, nil
		} else if !e.saysError() {
			return Answer{}, remedy.Garbled(e.status, detail)
		}
	}
	return Answer{}, t.FromAnswer(about, e.status, e.header, e.body)
}

// saysError: some gateways send errors with status 200.
func (e exchange) saysError() bool {
	var body struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(e.body, &body) == nil && body.Error != ""
}

// read takes the token out of the answer, or says what is wrong with it.
func (e exchange) read() (Answer, string) {
	var body struct {
		Access    string  `json:"access_token"`
		Type      string  `json:"token_type"`
		ExpiresIn seconds `json:"expires_in"`
		RefreshIn seconds `json:"refresh_in"`
		Refresh   string  `json:"refresh_token"`
	}
	if err := json.Unmarshal(e.body, &body); err != nil {
		return Answer{}, "the answer is not the JSON of a token" // the error would quote the answer
	}
	switch {
	case body.Access == "":
		return Answer{}, "no access_token in the answer"
	case strings.ContainsFunc(body.Access, unprintable):
		return Answer{}, "the access_token holds characters that no token has"
	case body.Type != "" && !strings.EqualFold(body.Type, "bearer"):
		return Answer{}, "the token is not of the type Bearer"
	case body.ExpiresIn.d == 0:
		return Answer{}, "no expires_in in the answer"
	}
	return Answer{
		Token: token.Token{
			Value: secret.New(body.Access), Sent: e.sent, Expires: e.sent.Add(body.ExpiresIn.d), RenewIn: body.RefreshIn.d,
			Trace: remedy.Trace(e.header),
		},
		Refresh: secret.New(body.Refresh),
	}, ""
}

// unprintable: RFC 6749 appendix A.12 allows VSCHAR only; a line end in a token would end a SASL line.
func unprintable(r rune) bool { return r <= ' ' || r > '~' }
