package idp

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A FederatedDomain is a mail domain whose users prove themselves at a federation server, as AD FS is one, and not at
// Entra. The sandbox is that server as well, under an address of its own.
type FederatedDomain struct {
	Domain string `yaml:"domain"`
	// SAML2 makes the server issue SAML 2.0 assertions; otherwise SAML 1.1, as AD FS does.
	SAML2 bool `yaml:"saml2"`
	// Endpoint is what the server's metadata name as the address for passwords, if not its own.
	Endpoint string `yaml:"endpoint"`
}

// The grants that redeem a SAML assertion, by its version.
const (
	saml1Grant = "urn:ietf:params:oauth:grant-type:saml1_1-bearer"
	saml2Grant = "urn:ietf:params:oauth:grant-type:saml2-bearer"
)

const (
	cloudAudience = "urn:federation:MicrosoftOnline"
	mexPath       = "/adfs/services/trust/mex" // below the domain
	trustPath     = "/adfs/services/trust/13/usernamemixed"
	// assertionTime is how long an assertion may be redeemed.
	assertionTime = 10 * time.Minute
)

func (t *Tenant) federated(addr string) (FederatedDomain, bool) {
	i := slices.IndexFunc(t.Federated, func(d FederatedDomain) bool { return lower(d.Domain) == domainOf(addr) })
	if i < 0 {
		return FederatedDomain{}, false
	}
	return t.Federated[i], true
}

func (d *Directory) federated(addr string) (FederatedDomain, bool) {
	t, ok := d.tenant(domainOf(addr))
	if !ok {
		return FederatedDomain{}, false
	}
	return t.federated(addr)
}

// mex describes the federation server (WS-MetadataExchange), with one endpoint for passwords under WS-Trust 1.3.
func (s *Server) mex(r *http.Request) reply {
	endpoint := s.config.Federation + trustPath
	if d, ok := s.dir.federated("@" + r.PathValue("domain")); ok && d.Endpoint != "" {
		endpoint = d.Endpoint
	}
	return reply{status: http.StatusOK, kind: "text/xml; charset=utf-8", body: fmt.Appendf(nil, mexDocument, escape(endpoint))}
}

const mexDocument = `<?xml version="1.0" encoding="utf-8"?>
<wsdl:definitions name="SecurityTokenService" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:wsp="http://schemas.xmlsoap.org/ws/2004/09/policy"
  xmlns:wsu="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd" xmlns:tns="http://tempuri.org/"
  xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/" xmlns:wsa10="http://www.w3.org/2005/08/addressing">
 <wsp:Policy wsu:Id="UserNameMixed_policy"><wsp:ExactlyOne><wsp:All>
  <sp:TransportBinding xmlns:sp="http://docs.oasis-open.org/ws-sx/ws-securitypolicy/200702"/>
  <sp:SignedEncryptedSupportingTokens xmlns:sp="http://docs.oasis-open.org/ws-sx/ws-securitypolicy/200702"><wsp:Policy>
   <sp:UsernameToken><wsp:Policy><sp:WssUsernameToken10/></wsp:Policy></sp:UsernameToken>
  </wsp:Policy></sp:SignedEncryptedSupportingTokens>
 </wsp:All></wsp:ExactlyOne></wsp:Policy>
 <wsdl:binding name="UserNameMixed" type="tns:IWSTrust13Sync"><wsp:PolicyReference URI="#UserNameMixed_policy"/>
  <soap12:binding transport="http://schemas.xmlsoap.org/soap/http"/>
  <wsdl:operation name="Trust13Issue"><soap12:operation soapAction="http://docs.oasis-open.org/ws-sx/ws-trust/200512/RST/Issue" style="document"/></wsdl:operation>
 </wsdl:binding>
 <wsdl:service name="SecurityTokenService"><wsdl:port name="UserNameMixed" binding="tns:UserNameMixed">
  <wsa10:EndpointReference><wsa10:Address>%s</wsa10:Address></wsa10:EndpointReference>
 </wsdl:port></wsdl:service>
</wsdl:definitions>`

// trustRequest is what of a RequestSecurityToken (WS-Trust 1.3 section 4) is looked at.
type trustRequest struct {
	To       string `xml:"Header>To"`
	User     string `xml:"Header>Security>UsernameToken>Username"`
	Password string `xml:"Header>Security>UsernameToken>Password"`
	Expires  string `xml:"Header>Security>Timestamp>Expires"`
	Audience string `xml:"Body>RequestSecurityToken>AppliesTo>EndpointReference>Address"`
}

// trust gives an assertion for a name and a password. It refuses as AD FS does: with a SOAP fault and status 500.
func (s *Server) trust(r *http.Request) reply {
	b, err := io.ReadAll(r.Body)
	var q trustRequest
	if err != nil || xml.Unmarshal(b, &q) != nil {
		return soapFault("InvalidRequest", "The request cannot be read.")
	}
	domain, federated := s.dir.federated(q.User)
	u, known := s.dir.User(q.User)
	expires, err := time.Parse(time.RFC3339, q.Expires)
	switch {
	case !strings.HasSuffix(strings.TrimSpace(q.To), r.URL.Path) || err != nil || time.Now().After(expires):
		return soapFault("InvalidRequest", "The request is meant for another server or another time.")
	case strings.TrimSpace(q.Audience) != cloudAudience:
		return soapFault("InvalidScope", "The relying party is not known.")
	case !federated || !known || u.Password == "" || s.dir.missed(u.Address, same(u.Password, q.Password)) || !same(u.Password, q.Password):
		return soapFault("FailedAuthentication", "The security token could not be authenticated or authorized.")
	}
	return s.assertion(u, domain)
}

// proof is what an assertion holds, sealed in place of a signature.
type proof struct {
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
	SAML2   bool      `json:"saml2"`
}

func (s *Server) assertion(u User, d FederatedDomain) reply {
	now := time.Now().UTC()
	sealed, err := s.issuer.seal("saml", proof{lower(u.Address), now.Add(assertionTime), d.SAML2})
	if err != nil {
		return soapFault("RequestFailed", "The request failed.")
	}
	version := `xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" MajorVersion="1" MinorVersion="1"`
	if d.SAML2 {
		version = `xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Version="2.0"`
	}
	return reply{status: http.StatusOK, kind: "application/soap+xml; charset=utf-8", body: fmt.Appendf(nil, trustAnswer,
		version, now.Format(time.RFC3339), escape(s.config.Federation+"/adfs/services/trust"), sealed)}
}

const trustAnswer = `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>
<trust:RequestSecurityTokenResponseCollection xmlns:trust="http://docs.oasis-open.org/ws-sx/ws-trust/200512"><trust:RequestSecurityTokenResponse>
<trust:RequestedSecurityToken><saml:Assertion %s IssueInstant="%s" Issuer="%s"><saml:Sealed>%s</saml:Sealed></saml:Assertion></trust:RequestedSecurityToken>
</trust:RequestSecurityTokenResponse></trust:RequestSecurityTokenResponseCollection></s:Body></s:Envelope>`

func soapFault(code, text string) reply {
	return reply{status: http.StatusInternalServerError, kind: "application/soap+xml; charset=utf-8", body: fmt.Appendf(nil, faultAnswer, code, escape(text))}
}

const faultAnswer = `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value>
<s:Subcode><s:Value xmlns:a="http://docs.oasis-open.org/ws-sx/ws-trust/200512">a:%s</s:Value></s:Subcode></s:Code>
<s:Reason><s:Text xml:lang="en-US">%s</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>`

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil { // a Builder takes everything
		panic(err)
	}
	return b.String()
}

// samlGrant redeems an assertion of the federation server for a token (RFC 7522 section 2.1).
func (s *Server) samlGrant(r *request, version2 bool) (*tokenBody, error) {
	if err := r.require("assertion"); err != nil {
		return nil, err
	}
	if err := r.parseScope(false); err != nil {
		return nil, err
	}
	var p proof
	b, err := base64.StdEncoding.DecodeString(r.get("assertion"))
	var a struct {
		Sealed string `xml:"Sealed"`
	}
	if err != nil || xml.Unmarshal(b, &a) != nil || s.issuer.open("saml", a.Sealed, &p) != nil || p.SAML2 != version2 {
		return nil, refuse(50013)
	}
	if time.Now().After(p.Expires) {
		return nil, refuse(500133)
	}
	u, ok := r.tenant.user(p.User)
	switch {
	case !ok:
		return nil, refuse(50034, p.User, r.tenant.ID)
	case u.Disabled:
		return nil, refuse(50057)
	case u.MFA:
		return nil, refuse(50076, r.resource)
	}
	return s.delegated(r, grant{Tenant: r.tenant.ID, Client: r.app.ClientID, User: u.Address})
}
