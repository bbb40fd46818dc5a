package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

const (
	admin     = "needs-admin"
	person    = "needs-user"
	misconfig = "wrong-config"
	throttled = "throttled"
	transient = "transient"
)

// entraFailures is what Entra may answer: the numbers, and what the broker must make of each of them. say is part of the
// remedy: who must act and how.
var entraFailures = []struct{ codes, class, reason, say string }{
	{"7000215 70002", misconfig, "CLIENT_SECRET_INVALID", "Whoever configures the broker must enter the value (not the id) of a client secret"},
	{"7000222", admin, "CLIENT_SECRET_EXPIRED", "An administrator must make a new client secret for application app-7000222 (az ad app credential reset --id app-7000222 --append)"},
	{"7000218", misconfig, "PUBLIC_CLIENT_NOT_ALLOWED", "az ad app update --id app-7000218 --is-fallback-public-client true"},
	{"700025", misconfig, "CLIENT_IS_PUBLIC", "must take the secret away"},
	{"700027 700030", misconfig, "CLIENT_CERTIFICATE_UNKNOWN", "certificate"},
	{"700024", misconfig, "CLIENT_ASSERTION_OUTDATED", "must set its clock, or see to it that the federated token file is renewed"},
	{"700211 700212 700213", misconfig, "FEDERATED_CREDENTIAL_UNKNOWN", "An administrator must add a federated credential"},
	{"50012 50013 50027 500133", misconfig, "CLIENT_ASSERTION_INVALID", "must check its clock, and the key and audience"},
	{"7000229", admin, "APPLICATION_NOT_INSTALLED", "az ad sp create --id app-7000229"},
	{"700016 700011", misconfig, "APPLICATION_NOT_FOUND", "must correct the client id"},
	{"70001 7000112", admin, "APPLICATION_DISABLED", "An administrator must enable the enterprise application"},
	{"7000114 70003", misconfig, "GRANT_NOT_ALLOWED", "must choose another grant-type"},
	{"65002", misconfig, "APPLICATION_NOT_YOURS", "must register an own application"},
	{"90002 900023 90019 50059 50128", misconfig, "TENANT_NOT_FOUND", "director"},
	{"90038 900382 900432", misconfig, "WRONG_CLOUD", "must set the authority of the cloud"},
	{"50049", misconfig, "AUTHORITY_UNKNOWN", "must correct the authority"},
	{"50194 9001023 9002332 90124 90130", misconfig, "TENANT_NOT_CONCRETE", "instead of " + tenant},
	{"500011 50001", misconfig, "RESOURCE_NOT_FOUND", "must correct the"},
	{"500014", admin, "RESOURCE_DISABLED", "An administrator must enable the enterprise application of the resource"},
	{"650052", admin, "SERVICE_NOT_LICENSED", "must subscribe to the service"},
	{"650057", misconfig, "PERMISSION_NOT_REGISTERED", "must add the API permission"},
	{"65001 650056 90094 90095 90008", admin, "CONSENT_REQUIRED", "An administrator must"},
	{"65004", person, "CONSENT_DECLINED", "must sign in again and accept"},
	{"70011 28002 28003 700022 700023", misconfig, "SCOPE_INVALID", "scope"},
	{"50105", admin, "USER_NOT_ASSIGNED", "must assign the user"},
	{"501051", admin, "ROLE_NOT_ASSIGNED", "must assign application app-501051 a role"},
	{"900144 90014 9002313 90023 90004 501481 50147", misconfig, "REQUEST_REFUSED", "report this as an error of the program, with the correlation id"},
	{"700005", misconfig, "REQUEST_REFUSED", "must use the same directory"},
	{"50011", misconfig, "REDIRECT_NOT_REGISTERED", "must register the redirect URI"},
	{"1002016", misconfig, "TLS_TOO_OLD", "TLS 1.2"},
	{"50126", person, "PASSWORD_REJECTED", "must correct the password; it is not tried again until then"},
	{"50034 51004", misconfig, "USER_NOT_FOUND", "must correct the user"},
	{"50020", misconfig, "USER_OF_ANOTHER_DIRECTORY", "home directory"},
	{"50056", admin, "PASSWORD_NOT_SET", "An administrator must set a password"},
	{"50053", admin, "ACCOUNT_LOCKED", "sign-in logs"},
	{"50055 50144", person, "PASSWORD_EXPIRED", "must change the password"},
	{"50057", admin, "ACCOUNT_DISABLED", "Update-MgUser -UserId"},
	{"50072 50074 50076 50078 50079 50158", person, "MFA_REQUIRED", "grant-type: client_credentials"},
	{"130507", person, "TEMPORARY_PASS_EXPIRED", "temporary access pass"},
	{"50097 50129 50155 50187 53000 53001 530003", admin, "DEVICE_REQUIRED", "Conditional Access policy"},
	{"50131 53002 53003 530032", admin, "BLOCKED_BY_POLICY", "through Conditional Access"},
	{"530035", admin, "BLOCKED_BY_POLICY", "security defaults"},
	{"500021 500022 500212 500213", admin, "BLOCKED_BY_POLICY", "cross-tenant access policy"},
	{"530034 53004 53011", admin, "BLOCKED_FOR_RISK", "risk"},
	{"50058 50173 50132 50133 70000 70008 700082 70043 50089 54005 70018 70019", person, "REAUTHORIZATION_REQUIRED", "sign"},
	{"700084", misconfig, "REAUTHORIZATION_REQUIRED", "redirect URI as native or web"},
	{"70016", transient, "AUTHORIZATION_PENDING", "must finish signing in"},
	{"50134", transient, "SIGN_IN_ELSEWHERE", "start the sign-in again"},
	{"50196", throttled, "IDP_LOOP_DETECTED", "must find what asks for the same token again and again"},
	{"90055 50088", throttled, "IDP_THROTTLED", "Nobody must act"},
	{"90033 90006 90012 90024 90090 50033 50087 70012 50166", transient, "IDP_UNAVAILABLE", "Nobody must act"},
	{"40008 40009 40010 40015", transient, "FEDERATED_IDP_UNAVAILABLE", "Whoever runs the federated identity provider"},
	{"80001 80002 80005 80007 80014", transient, "PASSWORD_AGENT_UNAVAILABLE", "pass-through authentication agents"},
}

// googleFailures is what Google may answer. Those of service accounts have robot set.
var googleFailures = []struct {
	name           string
	robot          bool
	status         int
	error, more    string // more is error_description, or error_subtype= and its value
	class, reason  string
	say            string
	retryAfterSecs int
}{
	{"revoked", false, 400, "invalid_grant", "Token has been expired or revoked.", person, "REAUTHORIZATION_REQUIRED", "must sign in again", 0},
	{"bad request", false, 400, "invalid_grant", "Bad Request", person, "REAUTHORIZATION_REQUIRED", "after 7 days while the consent screen is in testing", 0},
	{"malformed code", false, 400, "invalid_grant", "Malformed auth code.", person, "REAUTHORIZATION_REQUIRED", "must sign in again", 0},
	{"session control", false, 400, "invalid_grant", "error_subtype=invalid_rapt", admin, "BLOCKED_BY_POLICY", "session control policy", 0},
	{"another client's", false, 401, "unauthorized_client", "Unauthorized", admin, "APPLICATION_NOT_ALLOWED", "must use a refresh token that was issued to", 0},
	{"client secret", false, 401, "invalid_client", "Unauthorized", misconfig, "CLIENT_SECRET_INVALID", "must correct the client id", 0},
	{"deleted client", false, 401, "deleted_client", "The OAuth client was deleted.", misconfig, "APPLICATION_NOT_FOUND", "was deleted", 0},
	{"disabled client", false, 401, "disabled_client", "The OAuth client was disabled.", misconfig, "APPLICATION_DISABLED", "must enable it again", 0},
	{"scope", false, 400, "invalid_scope", "Some requested scopes were invalid.", misconfig, "SCOPE_INVALID", "https://mail.google.com/", 0},
	{"access denied", false, 403, "access_denied", "Account restricted", admin, "BLOCKED_BY_POLICY", "A Workspace administrator must allow", 0},
	{"admin policy", false, 400, "admin_policy_enforced", "", admin, "BLOCKED_BY_POLICY", "as trusted", 0},
	{"internal application", false, 403, "org_internal", "", misconfig, "BLOCKED_BY_POLICY", "outside its organisation", 0},
	{"redirect", false, 400, "redirect_uri_mismatch", "", misconfig, "REDIRECT_NOT_REGISTERED", "must register the redirect URI", 0},
	{"request", false, 400, "invalid_request", "client_secret is missing.", misconfig, "REQUEST_REFUSED", "wants a secret of installed applications too", 0},
	{"grant", false, 400, "unsupported_grant_type", "Invalid grant_type: x", misconfig, "GRANT_NOT_ALLOWED", "must choose grant-type", 0},
	{"rate", false, 403, "rate_limit_exceeded", "Rate Limit Exceeded", throttled, "IDP_THROTTLED", "Nobody must act", 0},
	{"429", false, 429, "rate_limit_exceeded", "Rate Limit Exceeded", throttled, "IDP_THROTTLED", "Nobody must act", 90},
	{"500", false, 500, "internal_failure", "", transient, "IDP_UNAVAILABLE", "Nobody must act", 0},
	{"503", false, 503, "", "", transient, "IDP_UNAVAILABLE", "Nobody must act", 45},
	{"delegation", true, 401, "unauthorized_client", "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.", admin, "DELEGATION_MISSING", "must delegate to client id 1001", 0},
	{"subject", true, 400, "invalid_grant", "Invalid email or User ID", misconfig, "USER_NOT_FOUND", "must correct the user", 0},
	{"subject, other words", true, 400, "invalid_grant", "Not a valid email or user ID.", misconfig, "USER_NOT_FOUND", "must correct the user", 0},
	{"clock", true, 400, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.", misconfig, "CLIENT_ASSERTION_OUTDATED", "must set its clock", 0},
	{"signature", true, 400, "invalid_grant", "Invalid JWT Signature.", misconfig, "CLIENT_ASSERTION_INVALID", "gcloud iam service-accounts keys create", 0},
	{"audience", true, 400, "invalid_grant", "Invalid JWT: Failed audience check.", misconfig, "CLIENT_ASSERTION_INVALID", "must correct tenant-authority", 0},
	{"account", true, 400, "invalid_grant", "Invalid grant: account not found", misconfig, "APPLICATION_NOT_FOUND", "a service account that exists", 0},
	{"account disabled", true, 401, "disabled_client", "The OAuth client was disabled.", admin, "APPLICATION_DISABLED", "gcloud iam service-accounts enable " + robot, 0},
	{"robot's bad request", true, 400, "invalid_grant", "Bad Request", misconfig, "CLIENT_ASSERTION_INVALID", "is not suspended", 0},
}

// failing is a broker with one mailbox for each failure of a table, whose provider fails as the table says.
type failing struct {
	t  *testing.T
	sb *sandbox.Sandbox
	c  brokerv1.TokenServiceClient
}

// want asks twice and checks what the caller is told, and what asking again costs.
func (f failing) want(mailbox, class, reason, say string, least time.Duration, requests func() int) *errdetails.ErrorInfo {
	f.t.Helper()
	_, err := ask(f.c, mailbox, in)
	info, retry, help := told(err)
	if info.GetReason() != reason || info.GetMetadata()["class"] != class || !strings.Contains(info.GetMetadata()["remedy"], say) {
		f.t.Fatalf("got %s %s: %s", info.GetMetadata()["class"], info.GetReason(), info.GetMetadata()["remedy"])
	}
	if strings.ContainsAny(info.GetMetadata()["remedy"]+help, "{}") || help != "" && !strings.HasPrefix(help, "https://") {
		f.t.Errorf("remedy %q, link %q", info.GetMetadata()["remedy"], help)
	}
	switch frozen := class == admin || class == person || class == misconfig; {
	case frozen && retry != 0:
		f.t.Errorf("to be asked again after %s", retry)
	case !frozen && retry < max(least, time.Second):
		f.t.Errorf("to be asked again after %s, want at least %s", retry, least)
	}
	if class == transient {
		return info // how soon it is tried again is a matter of chance
	}
	if _, err := ask(f.c, mailbox, in); reasonOnly(err) != reason {
		f.t.Errorf("the second time: %v", err)
	}
	if n := requests(); n != 1 {
		f.t.Errorf("%d token requests", n)
	}
	return info
}

// told is what a caller can read out of an error.
func told(err error) (info *errdetails.ErrorInfo, retry time.Duration, link string) {
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		case *errdetails.Help:
			link = d.GetLinks()[0].GetUrl()
		}
	}
	return info, retry, link
}

func reasonOnly(err error) string {
	info, _, _ := told(err)
	return info.GetReason()
}

// TestEveryFailureOfEntra goes through the sandbox over real sockets: each number has an application and a mailbox of its own.
func TestEveryFailureOfEntra(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	boxes := "mailboxes:\n"
	for _, row := range entraFailures {
		for code := range strings.FieldsSeq(row.codes) {
			boxes += fmt.Sprintf("  - {address: %s@contoso.example, directory-id: %s, client-id: app-%s, tenant-authority: %q, password: {file: ../secrets/user}, "+
				"pop-client: {type: IMAP, server: localhost, mail.imap.auth.mechanisms: XOAUTH2}}\n", code, tenant, code, sb.Authority())
			number, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			rule := fault.Rule{Target: fault.Identity, Step: "token", Client: "app-" + code, Action: fault.Reply, AADSTS: number}
			if row.class == throttled {
				rule.RetryAfter = 6 * time.Minute
			}
			sb.Faults().Add(rule)
		}
	}
	s.write("mailboxes.d/all.yaml", boxes)
	s.start()
	c := s.connect(worker)
	for _, row := range entraFailures {
		for code := range strings.FieldsSeq(row.codes) {
			t.Run(code, func(t *testing.T) {
				least := map[string]time.Duration{throttled: 5 * time.Minute, transient: time.Second}[row.class]
				info := failing{t, sb, c}.want(code+"@contoso.example", row.class, row.reason, row.say, least,
					func() int { return sb.TokenRequests().Client["app-"+code] })
				if m := info.GetMetadata(); m["codes"] != code || m["correlationId"] == "" || m["error"] == "" {
					t.Errorf("a support case needs more than %v", m)
				}
			})
		}
	}
}

func TestEveryFailureOfGoogle(t *testing.T) {
	sb := provider(t, 3599*time.Second)
	s := newSite(t, sb, "file:state")
	boxes := "secret-shop: {password: {file: ../secrets/google}}\nmailboxes:\n"
	for i, row := range googleFailures {
		credential := fmt.Sprintf("client-id: g%d, secret: shop, password: {file: ../secrets/google-seed}", i)
		rule := fault.Rule{Target: fault.Identity, Step: "google-token", Action: fault.Reply, Status: row.status, Client: fmt.Sprintf("g%d", i),
			RetryAfter: time.Duration(row.retryAfterSecs) * time.Second}
		if row.robot {
			credential = "service-account-key: {file: ../secrets/robot.json}"
			rule.Client, rule.Mailbox = robot, fmt.Sprintf("box%d@shop.example", i)
		}
		boxes += fmt.Sprintf("  - {address: box%d@shop.example, tenant-authority: %q, %s, pop-client: {type: IMAP, server: localhost, mail.imap.auth.mechanisms: XOAUTH2}}\n",
			i, sb.GoogleAuthority(), credential)
		rule.Body = googleBody(row.error, row.more)
		sb.Faults().Add(rule)
	}
	s.write("mailboxes.d/all.yaml", boxes)
	s.start()
	c := s.connect(worker)
	for i, row := range googleFailures {
		t.Run(row.name, func(t *testing.T) {
			box := fmt.Sprintf("box%d@shop.example", i)
			requests := func() int { return sb.TokenRequests().Client[fmt.Sprintf("g%d", i)] }
			if row.robot {
				requests = func() int { return sb.TokenRequests().User[box] }
			}
			failing{t, sb, c}.want(box, row.class, row.reason, row.say, time.Duration(row.retryAfterSecs)*time.Second, requests)
		})
	}
}

// googleBody is an error of Google's token endpoint; without an error it is a gateway's page.
func googleBody(oauth, more string) string {
	if oauth == "" {
		return "<html>MARKER</html>"
	}
	if subtype, ok := strings.CutPrefix(more, "error_subtype="); ok {
		return fmt.Sprintf(`{"error":%q,"error_description":"MARKER","error_subtype":%q}`, oauth, subtype)
	}
	return fmt.Sprintf(`{"error":%q,"error_description":%q}`, oauth, more)
}

// gateways is what stands between the broker and the provider, or where the provider used to be.
var gateways = map[string]struct {
	rule          fault.Rule
	class, reason string
	least         time.Duration
}{
	"429":             {fault.Rule{Action: fault.Reply, Status: 429, Body: "slow down", RetryAfter: 40 * time.Second}, throttled, "IDP_THROTTLED", 40 * time.Second},
	"429 as a date":   {fault.Rule{Action: fault.Reply, Status: 429, Header: map[string]string{"Retry-After": time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}}, throttled, "IDP_THROTTLED", 50 * time.Minute},
	"503":             {fault.Rule{Action: fault.Reply, Status: 503, Body: "<html>", RetryAfter: 40 * time.Second}, transient, "IDP_UNAVAILABLE", 40 * time.Second},
	"502":             {fault.Rule{Action: fault.Reply, Status: 502, Body: "<html>"}, transient, "IDP_UNAVAILABLE", 0},
	"408":             {fault.Rule{Action: fault.Reply, Status: 408, Body: `{"error":"odd"}`}, transient, "IDP_UNAVAILABLE", 0},
	"425":             {fault.Rule{Action: fault.Reply, Status: 425}, transient, "IDP_UNAVAILABLE", 0},
	"403 of a proxy":  {fault.Rule{Action: fault.Reply, Status: 403, Body: "<html>no</html>"}, transient, "IDP_ANSWER_UNREADABLE", 0},
	"moved":           {fault.Rule{Action: fault.Reply, Status: 302, Header: map[string]string{"Location": "https://127.0.0.1:1/"}}, transient, "IDP_REDIRECTED", 0},
	"reset":           {fault.Rule{Action: fault.Reset}, transient, "IDP_UNAVAILABLE", 0},
	"unknown refusal": {fault.Rule{Action: fault.Reply, Status: 400, Body: `{"error":"something_new"}`}, transient, "UNKNOWN_REFUSAL", 0},
}

func TestGateways(t *testing.T) {
	for name, tc := range gateways {
		t.Run(name, func(t *testing.T) {
			sb := provider(t, time.Hour)
			s := newSite(t, sb, "file:state")
			s.start()
			tc.rule.Target, tc.rule.Step = fault.Identity, "token"
			sb.Faults().Add(tc.rule)
			failing{t, sb, s.connect(worker)}.want("app@contoso.example", tc.class, tc.reason, "must", tc.least, func() int { return sb.TokenRequests().Total })
		})
	}
}

// TestAnUnknownRefusalEndsInAFreeze: three tries, then a person must act.
func TestAnUnknownRefusalEndsInAFreeze(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.start()
	sb.Faults().Add(fault.Rule{Target: fault.Identity, Step: "token", Action: fault.Reply, Status: 418, Body: `{"error":"something_new","error_codes":[123456789]}`})
	c := s.connect(worker)
	for late := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		_, err := ask(c, "app@contoso.example", in)
		if got := reason(err); got == "FailedPrecondition wrong-config UNKNOWN_REFUSAL" {
			info, _, _ := told(err)
			if !strings.Contains(info.GetMetadata()["remedy"], "AADSTS123456789") {
				t.Errorf("the provider's number is not told: %v", info)
			}
			break
		} else if got != "Unavailable transient UNKNOWN_REFUSAL" || time.Now().After(late) {
			t.Fatal(got)
		}
	}
	if _, err := ask(c, "app@contoso.example", in); reasonOnly(err) != "UNKNOWN_REFUSAL" {
		t.Error(err)
	}
	if n := sb.TokenRequests().Total; n != 3 {
		t.Errorf("%d token requests", n)
	}
}

// TestRemediesFile: an organisation's own table wins over the built-in one, line by line.
func TestRemediesFile(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.write("broker.yaml", s.read("broker.yaml")+"remedies: own.txt\n")
	s.write("own.txt", "[microsoft]\nAADSTS50126 | needs-admin | ASK_THE_DESK | | The mail desk must reset the password of {user}. | https://desk.example/{client}\n")
	s.start()
	c := s.connect(worker)
	_, err := ask(c, "typo@contoso.example", in)
	info, _, link := told(err)
	if reason(err) != "FailedPrecondition needs-admin ASK_THE_DESK" || info.GetMetadata()["remedy"] != "The mail desk must reset the password of typo@contoso.example." || link != "https://desk.example/public" {
		t.Errorf("%s, %v, %s", reason(err), info, link)
	}
	if _, err := ask(c, "mfa@contoso.example", in); reason(err) != "FailedPrecondition needs-user MFA_REQUIRED" {
		t.Errorf("a line of the built-in table: %v", err)
	}
}
