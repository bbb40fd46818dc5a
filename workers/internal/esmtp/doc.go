// Package esmtp is what SMTP and LMTP have in common on the wire: replies (RFC 5321 section 4.2, RFC 3463) and the
// transparency of DATA (RFC 5321 section 4.5.2).
package esmtp
