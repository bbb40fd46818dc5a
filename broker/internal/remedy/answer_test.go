package remedy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

var entra = About{Provider: "microsoft", Authority: "https://login.microsoftonline.com", Directory: "contoso.example", Client: "app-1", User: "support@contoso.example"}

var gmail = About{Provider: "google", Authority: "https://oauth2.googleapis.com", Client: "client-1", User: "orders@gmail.example"}

func entraBody(oauth, suberror string, code int) string {
	return fmt.Sprintf(`{"error":%q,"suberror":%q,"error_description":"AADSTS%d: MARKER text\r\nTrace ID: x","error_codes":[%d],`+
		`"correlation_id":"6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506","trace_id":"t"}`, oauth, suberror, code, code)
}

func googleBody(oauth, text string) string {
	return fmt.Sprintf(`{"error":%q,"error_description":%q}`, oauth, text)
}

func TestFromAnswer(t *testing.T) {
	appOnly := entra
	appOnly.User, appOnly.AppOnly = "", true
	robot := gmail
	robot.AppOnly, robot.Number = true, "1001"
	html := "<html><body>MARKER bad gateway</body></html>"
	for name, tc := range map[string]struct {
		about  About
		status int
		after  string
		body   string
		class  Class
		reason string
		wait   time.Duration
	}{
		"secret wrong":              {entra, 401, "", entraBody("invalid_client", "", 7000215), WrongConfig, ClientSecretInvalid, 0},
		"secret expired":            {entra, 401, "", entraBody("invalid_client", "", 7000222), NeedsAdmin, ClientSecretExpired, 0},
		"public flow not allowed":   {entra, 401, "", entraBody("invalid_client", "", 7000218), WrongConfig, "PUBLIC_CLIENT_NOT_ALLOWED", 0},
		"tenant unknown":            {entra, 400, "", entraBody("invalid_request", "", 90002), WrongConfig, "TENANT_NOT_FOUND", 0},
		"application unknown":       {entra, 400, "", entraBody("unauthorized_client", "", 700016), WrongConfig, "APPLICATION_NOT_FOUND", 0},
		"mfa":                       {entra, 400, "", entraBody("invalid_grant", "basic_action", 50076), NeedsUser, "MFA_REQUIRED", 0},
		"password wrong":            {entra, 400, "", entraBody("invalid_grant", "", 50126), NeedsUser, "PASSWORD_REJECTED", 0},
		"account locked":            {entra, 400, "", entraBody("invalid_grant", "", 50053), NeedsAdmin, "ACCOUNT_LOCKED", 0},
		"password expired":          {entra, 400, "", entraBody("invalid_grant", "user_password_expired", 50055), NeedsUser, "PASSWORD_EXPIRED", 0},
		"consent":                   {entra, 400, "", entraBody("invalid_grant", "consent_required", 65001), NeedsAdmin, "CONSENT_REQUIRED", 0},
		"refresh token revoked":     {entra, 400, "", entraBody("invalid_grant", "bad_token", 50173), NeedsUser, ReauthorizationRequired, 0},
		"scope":                     {entra, 400, "", entraBody("invalid_scope", "", 70011), WrongConfig, "SCOPE_INVALID", 0},
		"loop":                      {entra, 400, "", entraBody("invalid_grant", "", 50196), Throttled, "IDP_LOOP_DETECTED", 5 * time.Minute},
		"loop, longer Retry-After":  {entra, 400, "600", entraBody("invalid_grant", "", 50196), Throttled, "IDP_LOOP_DETECTED", 10 * time.Minute},
		"tenant throttled":          {entra, 429, "17", entraBody("temporarily_unavailable", "", 90055), Throttled, Throttling, 17 * time.Second},
		"429 with a frozen code":    {entra, 429, "", entraBody("invalid_grant", "", 50126), Throttled, Throttling, 0},
		"503 with a frozen code":    {entra, 503, "", entraBody("invalid_client", "", 7000215), Transient, Unavailable, 0},
		"transient code":            {entra, 400, "", entraBody("invalid_request", "", 90033), Transient, Unavailable, 0},
		"unknown code, its error":   {entra, 400, "", entraBody("invalid_grant", "", 1), NeedsUser, ReauthorizationRequired, 0},
		"unknown code, suberror":    {entra, 400, "", entraBody("invalid_grant", "message_only", 1), NeedsAdmin, "BLOCKED_BY_POLICY", 0},
		"unknown code, client":      {entra, 401, "", entraBody("invalid_client", "", 1), WrongConfig, ClientSecretInvalid, 0},
		"interaction, user":         {entra, 400, "", entraBody("interaction_required", "", 1), NeedsUser, ReauthorizationRequired, 0},
		"interaction, app-only":     {appOnly, 400, "", entraBody("interaction_required", "", 1), NeedsAdmin, "BLOCKED_BY_POLICY", 0},
		"unknown error":             {entra, 400, "", `{"error":"something_new"}`, Transient, UnknownRefusal, 0},
		"unknown error, no word":    {entra, 418, "", `{"error":"MARKER is no word"}`, Transient, UnknownRefusal, 0},
		"408":                       {entra, 408, "", `{"error":"something_new"}`, Transient, Unavailable, 0},
		"425":                       {gmail, 425, "", html, Transient, Unavailable, 0},
		"code in the text only":     {entra, 400, "", `{"error":"invalid_grant","error_description":"AADSTS50126: no"}`, NeedsUser, "PASSWORD_REJECTED", 0},
		"codes of an odd type":      {entra, 400, "", `{"error":"invalid_grant","error_codes":"50126","error_description":"AADSTS50126: no"}`, NeedsUser, "PASSWORD_REJECTED", 0},
		"html 502":                  {entra, 502, "", html, Transient, Unavailable, 0},
		"html 404":                  {entra, 404, "", html, Transient, Unreadable, 0},
		"html 429":                  {entra, 429, "3", html, Throttled, Throttling, 3 * time.Second},
		"redirect":                  {entra, 302, "", html, Transient, Redirected, 0},
		"200 with an error":         {entra, 200, "", `{"error":"invalid_grant"}`, NeedsUser, ReauthorizationRequired, 0},
		"empty":                     {entra, 400, "", "", Transient, Unreadable, 0},
		"google revoked":            {gmail, 400, "", googleBody("invalid_grant", "Token has been expired or revoked."), NeedsUser, ReauthorizationRequired, 0},
		"google session control":    {gmail, 400, "", `{"error":"invalid_grant","error_subtype":"invalid_rapt"}`, NeedsAdmin, "BLOCKED_BY_POLICY", 0},
		"google clock":              {gmail, 400, "", googleBody("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)"), WrongConfig, "CLIENT_ASSERTION_OUTDATED", 0},
		"google signature":          {robot, 400, "", googleBody("invalid_grant", "Invalid JWT Signature."), WrongConfig, "CLIENT_ASSERTION_INVALID", 0},
		"google account":            {robot, 400, "", googleBody("invalid_grant", "Invalid grant: account not found"), WrongConfig, "APPLICATION_NOT_FOUND", 0},
		"google delegation missing": {robot, 401, "", googleBody("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method"), NeedsAdmin, "DELEGATION_MISSING", 0},
		"google robot, unknown":     {robot, 400, "", googleBody("invalid_grant", "Bad Request"), WrongConfig, "CLIENT_ASSERTION_INVALID", 0},
		"google robot, disabled":    {robot, 401, "", googleBody("disabled_client", "The OAuth client was disabled."), NeedsAdmin, "APPLICATION_DISABLED", 0},
		"google user":               {gmail, 400, "", googleBody("invalid_grant", "Invalid email or User ID"), WrongConfig, "USER_NOT_FOUND", 0},
		"google client":             {gmail, 401, "", googleBody("invalid_client", "Unauthorized"), WrongConfig, ClientSecretInvalid, 0},
		"google delegation":         {gmail, 401, "", googleBody("unauthorized_client", "Unauthorized"), NeedsAdmin, "APPLICATION_NOT_ALLOWED", 0},
		"google rate, not with 429": {gmail, 403, "", googleBody("rate_limit_exceeded", ""), Throttled, Throttling, 0},
		"google internal":           {gmail, 500, "", googleBody("internal_failure", ""), Transient, Unavailable, 0},
		"google knows no AADSTS":    {gmail, 400, "", entraBody("invalid_grant", "", 50126), NeedsUser, ReauthorizationRequired, 0},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tc.after != "" {
				header.Set("Retry-After", tc.after)
			}
			f := Default().FromAnswer(tc.about, tc.status, header, []byte(tc.body))
			if f.Class != tc.class || f.Reason != tc.reason || f.After != tc.wait {
				t.Errorf("got %s %s after %s, want %s %s after %s", f.Class, f.Reason, f.After, tc.class, tc.reason, tc.wait)
			}
			if f.Remedy == "" || strings.ContainsAny(f.Remedy+f.Link, "{}") {
				t.Errorf("remedy %q, link %q", f.Remedy, f.Link)
			}
			if strings.Contains(fmt.Sprintf("%+v %s", *f, f.Error()), "MARKER") {
				t.Errorf("the provider's text came through: %+v", *f)
			}
		})
	}
}

func TestFromAnswerKeepsWhatASupportCaseNeeds(t *testing.T) {
	f := Default().FromAnswer(entra, 401, nil, []byte(entraBody("invalid_client", "", 7000222)))
	if f.Status != 401 || f.OAuth != "invalid_client" || len(f.Codes) != 1 || f.Codes[0] != 7000222 ||
		f.Trace != "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506" {
		t.Errorf("%+v", *f)
	}
	if !strings.Contains(f.Remedy, "az ad app credential reset --id app-1 --append") || !strings.HasSuffix(f.Link, "/appId/app-1") {
		t.Errorf("the remedy does not name the application: %s %s", f.Remedy, f.Link)
	}
}

func TestAnUnknownRefusalIsFinalAtTheThirdTry(t *testing.T) {
	odd := func() *Fault { return Default().FromAnswer(entra, 400, nil, []byte(`{"error":"something_new"}`)) }
	down := Default().FromAnswer(entra, 503, nil, nil)
	first := odd().Following(nil)
	second := odd().Following(first)
	third := odd().Following(second)
	if first.Class != Transient || second.Class != Transient || third.Class != WrongConfig {
		t.Errorf("%s, %s, %s", first.Class, second.Class, third.Class)
	}
	if !strings.Contains(third.Remedy, "something_new") {
		t.Errorf("the provider's word is not in it: %s", third.Remedy)
	}
	if f := odd().Following(down.Following(second)); f.Class != Transient || f.Tries != first.Tries {
		t.Errorf("not in a row: %s, %d left", f.Class, f.Tries)
	}
	if again := odd().Following(third); again.Class != WrongConfig {
		t.Errorf("once final, then %s", again.Class)
	}
	if f := down.Following(down); f.Class != Transient {
		t.Errorf("an outage is never final: %s", f.Class)
	}
}

func TestOfAudience(t *testing.T) {
	for body, want := range map[string]bool{
		entraBody("invalid_scope", "", 70011):    true,
		entraBody("invalid_client", "", 7000215): false,
		entraBody("invalid_grant", "", 50126):    false,
	} {
		if f := Default().FromAnswer(entra, 400, nil, []byte(body)); f.OfAudience != want {
			t.Errorf("%s: got %t", f.Reason, f.OfAudience)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		value string
		want  time.Duration
		given bool
	}{
		"seconds":   {"120", 2 * time.Minute, true},
		"date":      {now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second, true},
		"past date": {now.Add(-time.Hour).Format(http.TimeFormat), 0, true},
		"absent":    {"", 0, false},
		"negative":  {"-3", 0, false},
		"garbage":   {"soon", 0, false},
		"a year":    {"31536000", longestWait, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, given := retryAfter(http.Header{"Retry-After": {tc.value}}, now)
			if got != tc.want || given != tc.given {
				t.Errorf("got %s %t", got, given)
			}
		})
	}
}

func FuzzFromAnswer(f *testing.F) {
	f.Add(400, "5", []byte(entraBody("invalid_grant", "bad_token", 50173)), true)
	f.Add(429, "Fri, 02 Jan 2026 03:04:05 GMT", []byte("<html>"), false)
	f.Add(200, "", []byte(`{"error":["x"],"error_codes":[1e9,"7",null]}`), true)
	f.Fuzz(func(t *testing.T, status int, after string, body []byte, microsoft bool) {
		about := gmail
		if microsoft {
			about = entra
		}
		got := Default().FromAnswer(about, status, http.Header{"Retry-After": {after}}, body)
		if got.Class == "" || got.Reason == "" || got.Remedy == "" || got.After < 0 || got.After > longestWait {
			t.Fatalf("%+v", *got)
		}
		if status == http.StatusTooManyRequests && got.Class != Throttled || status >= 500 && got.Class.Freezes() {
			t.Fatalf("status %d: %s", status, got.Class)
		}
		for _, s := range []string{got.OAuth, got.Suberror, got.Trace} {
			if strings.ContainsAny(s, " \r\n\"<") || len(s) > 64 {
				t.Fatalf("unclean word %q", s)
			}
		}
	})
}
