package idp

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Why a token is refused.
var (
	ErrBadToken = errors.New("not a token of this sandbox")
	ErrExpired  = errors.New("token has expired")
	ErrRevoked  = errors.New("token was revoked")
)

// An Issuer makes and checks tokens. What it made stays valid as long as its keys and its state live.
type Issuer struct {
	keys  keys
	aead  cipher.AEAD
	state *state
	life  time.Duration
}

// NewIssuer opens the keys and the revocations kept in dir; an empty dir keeps nothing. life is that of access tokens.
func NewIssuer(dir string, life time.Duration) (*Issuer, error) {
	k, err := openKeys(dir)
	if err != nil {
		return nil, fmt.Errorf("identity keys: %w", err)
	}
	block, err := aes.NewCipher(k.seal)
	if err != nil {
		return nil, fmt.Errorf("identity keys: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("identity keys: %w", err)
	}
	st, err := openState(dir)
	if err != nil {
		return nil, fmt.Errorf("identity state: %w", err)
	}
	return &Issuer{keys: k, aead: aead, state: st, life: life}, nil
}

// b64 is strict: a token must not have two spellings.
var b64 = base64.RawURLEncoding.Strict()

// googlePrefix begins every access token of Google.
const googlePrefix = "ya29."

// Access makes an access token. ID, Issued and Expires of c are filled in; Expires is a whole second, as in JWTs.
func (i *Issuer) Access(c Claims) (string, Claims, error) {
	c.ID = strings.ToLower(rand.Text())
	c.Issued = time.Now()
	// Rounded up: a token that says it lives for n seconds must not end before.
	c.Expires = c.Issued.Add(i.life + time.Second - 1).Truncate(time.Second)
	if c.Tenant == GoogleTenant {
		token, err := i.seal("access", c)
		return googlePrefix + token, c, err
	}
	token, err := i.sign(entraClaims(c, i.keys.deployment, i.keys.filler))
	return token, c, err
}

// Verify checks an access token of either provider, to the second.
func (i *Issuer) Verify(token string) (Claims, error) {
	c, err := i.read(token)
	if err != nil {
		return Claims{}, err
	}
	if !time.Now().Before(c.Expires) {
		return c, ErrExpired
	}
	if i.state.revoked(token, c.Tenant, c.User, c.Issued) {
		return c, ErrRevoked
	}
	return c, nil
}

func (i *Issuer) read(token string) (Claims, error) {
	if sealed, ok := strings.CutPrefix(token, googlePrefix); ok {
		var c Claims
		err := i.open("access", sealed, &c)
		return c, err
	}
	payload, err := i.checkSignature(token)
	if err != nil {
		return Claims{}, err
	}
	return parseEntraClaims(payload, i.keys.deployment)
}

// seal encrypts v; kind keeps a refresh token from being taken for an access token.
func (i *Issuer) seal(kind string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, i.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return b64.EncodeToString(i.aead.Seal(nonce, nonce, plain, []byte(kind))), nil
}

func (i *Issuer) open(kind, s string, v any) error {
	b, err := b64.DecodeString(s)
	if err != nil || len(b) < i.aead.NonceSize() {
		return ErrBadToken
	}
	plain, err := i.aead.Open(nil, b[:i.aead.NonceSize()], b[i.aead.NonceSize():], []byte(kind))
	if err != nil {
		return ErrBadToken
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return ErrBadToken
	}
	return nil
}

// sign makes an RS256 JWT (RFC 7515 section 7.1).
func (i *Issuer) sign(claims any) (string, error) {
	head, err := json.Marshal(map[string]string{"typ": "JWT", "alg": "RS256", "x5t": i.keys.id, "kid": i.keys.id})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	input := b64.EncodeToString(head) + "." + b64.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, i.keys.sign, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return input + "." + b64.EncodeToString(sig), nil
}

// checkSignature returns the payload of a JWT that this issuer signed. The algorithm is fixed: what the header says about
// it is not looked at.
func (i *Issuer) checkSignature(token string) ([]byte, error) {
	last := strings.LastIndexByte(token, '.')
	if last < 0 || strings.Count(token, ".") != 2 {
		return nil, ErrBadToken
	}
	sig, err := b64.DecodeString(token[last+1:])
	if err != nil {
		return nil, ErrBadToken
	}
	sum := sha256.Sum256([]byte(token[:last]))
	if rsa.VerifyPKCS1v15(&i.keys.sign.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return nil, ErrBadToken
	}
	payload, err := b64.DecodeString(token[strings.IndexByte(token, '.')+1 : last])
	if err != nil {
		return nil, ErrBadToken
	}
	return payload, nil
}

// processKey is the signing key of all sandboxes without a folder: making one takes a good part of a second.
var processKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
