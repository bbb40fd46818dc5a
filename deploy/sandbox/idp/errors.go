package idp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// refusal is an error answer of Entra: what AADSTS says about it.
type refusal struct {
	status   int
	error    string
	suberror string
	text     string
}

// refusals are the errors that can be given, by AADSTS number; the texts follow the real ones, with a verb for what they
// quote. The same table, and onDemand, serve faults.
var refusals = map[int]refusal{
	50027:   {400, "invalid_request", "", "JWT token is invalid or malformed."},
	50034:   {400, "invalid_grant", "", "The user account %s does not exist in the %s directory. To sign into this application, the account must be added to the directory."},
	50053:   {400, "invalid_grant", "", "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."},
	50055:   {400, "invalid_grant", "user_password_expired", "The password is expired."},
	50056:   {400, "invalid_grant", "", "Invalid or null password: password does not exist in the directory for this user."},
	50057:   {400, "invalid_grant", "", "The user account is disabled."},
	50059:   {400, "invalid_request", "", "No tenant-identifying information found in either the request or implied by any provided credentials."},
	50076:   {400, "invalid_grant", "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '%s'."},
	50079:   {400, "invalid_grant", "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '%s'."},
	50126:   {400, "invalid_grant", "", "Error validating credentials due to invalid username or password."},
	50173:   {400, "invalid_grant", "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s' and the TokensValidFrom date (before which tokens are not valid) for this user is '%s'."},
	50196:   {400, "invalid_grant", "", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
	53003:   {400, "invalid_grant", "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
	65001:   {400, "invalid_grant", "consent_required", "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource."},
	70000:   {400, "invalid_grant", "bad_token", "The provided value for the input parameter 'refresh_token' or 'assertion' is not valid."},
	70003:   {400, "unsupported_grant_type", "", "The app requested an unsupported grant type '%s'."},
	70011:   {400, "invalid_scope", "", "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid."},
	90002:   {400, "invalid_request", "", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
	90033:   {503, "temporarily_unavailable", "", "A transient error has occurred. Please try again."},
	90055:   {429, "temporarily_unavailable", "", "Server Busy. Tenant is throttled due to too many requests. Please try again later."},
	500011:  {400, "invalid_resource", "", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."},
	700016:  {400, "unauthorized_client", "", "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	700022:  {400, "invalid_request", "", "The provided value for the input parameter 'scope' is not valid because it contains more than one resource. The scope %s is not valid."},
	700024:  {401, "invalid_client", "", "Client assertion is not within its valid time range."},
	700025:  {401, "invalid_client", "", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
	700027:  {401, "invalid_client", "", "The certificate with identifier used to sign the client assertion is not registered on application '%s'."},
	700082:  {400, "invalid_grant", "token_expired", "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for %s."},
	700213:  {400, "invalid_request", "", "No matching federated identity record found for presented assertion subject '%s'."},
	900023:  {400, "invalid_request", "", "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain."},
	900144:  {400, "invalid_request", "", "The request body must contain the following parameter: '%s'."},
	900561:  {400, "invalid_request", "", "The endpoint only accepts POST requests. Received a %s request."},
	7000112: {400, "unauthorized_client", "", "Application '%s'(%s) is disabled."},
	7000215: {401, "invalid_client", "", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
	7000218: {401, "invalid_client", "", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000222: {401, "invalid_client", "", "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app, or consider using certificate credentials for added security."},
	9001023: {400, "invalid_request", "", "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
	9002313: {400, "invalid_request", "", "Invalid request. Request is malformed or invalid."},
}

// aadsts is a refusal on its way to the client.
type aadsts struct {
	code int
	args []any
}

func refuse(code int, args ...any) *aadsts { return &aadsts{code, args} }

func (e *aadsts) Error() string { return fmt.Sprintf("AADSTS%d", e.code) }

// errorBody has the fields in the order in which Entra sends them.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
	Suberror      string `json:"suberror,omitempty"`
	Claims        string `json:"claims,omitempty"`
}

// reply makes the HTTP answer of a refusal. correlation is the client's own request id, if it sent one.
func (e *aadsts) reply(base, correlation string) reply {
	r, ok := refusals[e.code]
	if !ok {
		r, ok = onDemand[e.code]
	}
	if !ok { // a fault may ask for any number
		r = refusal{http.StatusBadRequest, "invalid_grant", "", "The request was refused."}
	}
	if correlation == "" {
		correlation = guid()
	}
	args := e.args
	for len(args) < strings.Count(r.text, "%s") { // a fault names the number only
		args = append(args, "sandbox")
	}
	text := fmt.Sprintf(r.text, args...)
	trace, now := guid(), time.Now().UTC().Format("2006-01-02 15:04:05Z")
	body := errorBody{
		Error: r.error,
		Description: fmt.Sprintf("AADSTS%d: %s\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s",
			e.code, text, trace, correlation, now),
		Codes: []int{e.code}, Timestamp: now, TraceID: trace, CorrelationID: correlation,
		URI: fmt.Sprintf("%s/error?code=%d", base, e.code), Suberror: r.suberror,
	}
	if r.suberror == "basic_action" {
		body.Claims = `{"access_token":{"capolids":{"essential":true,"values":["` + guid() + `"]}}}`
	}
	return jsonReply(r.status, body)
}

func jsonReply(status int, v any) reply {
	b, err := json.Marshal(v)
	if err != nil { // only our own structs get here
		panic(err)
	}
	return reply{status: status, kind: "application/json; charset=utf-8", body: b}
}
