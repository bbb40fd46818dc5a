package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"

	"mailporter/kit/secret"
	"mailporter/workers/internal/intake"
)

var errCancelled = errors.New("cancelled")

// credentials asks for user and password: AUTH of RFC 4954 with PLAIN (RFC 4616) or LOGIN.
func (s *session) credentials(mechanism, initial string) (user string, password secret.String, err error) {
	if mechanism == "PLAIN" {
		answer, err := s.ask("", initial)
		if err != nil {
			return "", secret.String{}, err
		}
		parts := bytes.Split(answer, []byte{0})
		if len(parts) != 3 {
			return "", secret.String{}, errors.New("no PLAIN response")
		}
		return string(parts[1]), secret.New(string(parts[2])), nil
	}
	name, err := s.ask("Username:", initial)
	if err != nil {
		return "", secret.String{}, err
	}
	word, err := s.ask("Password:", "")
	return string(name), secret.New(string(word)), err
}

// ask sends a challenge and decodes the answer, unless that came with the command already.
func (s *session) ask(challenge, initial string) ([]byte, error) {
	if initial == "=" { // RFC 4954 section 4: empty
		return nil, nil
	}
	if initial == "" {
		s.reply(334, base64.StdEncoding.EncodeToString([]byte(challenge)))
		line, err := s.line()
		if err != nil {
			return nil, err
		}
		initial = line
	}
	if initial == "*" {
		return nil, errCancelled
	}
	return base64.StdEncoding.DecodeString(initial)
}

// login is the user who has this password. All users are compared, so that the time tells nothing.
func (c Config) login(user string, password secret.String) (by intake.Submitter, found bool) {
	for _, u := range c.Users {
		want, err := u.Password.Read()
		if err != nil {
			c.Log.Error("a password cannot be read; nobody can log in with it", "error", err)
			continue
		}
		if want.Equal(password) && u.Name == user && !want.Empty() {
			by, found = intake.Submitter{Name: u.Name, Senders: u.Senders}, true
		}
	}
	return by, found
}
