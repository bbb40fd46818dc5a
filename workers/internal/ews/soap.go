package ews

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// opening is a request up to its body. impersonate is the mailbox to name with an application's own token; empty = none.
func opening(impersonate string) string {
	header := `<t:RequestServerVersion Version="Exchange2013_SP1"/>`
	if impersonate != "" {
		header += "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>" + escape(impersonate) + "</t:SmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
	}
	return `<?xml version="1.0" encoding="utf-8"?>` +
		`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">` +
		"<s:Header>" + header + "</s:Header><s:Body>"
}

// closing is what follows the body.
const closing = "</s:Body></s:Envelope>"

// escape makes text safe within an element or a quoted attribute.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder does not fail
	return b.String()
}

// document is an answer, by local names: Exchange mixes the namespaces of messages and types.
type document struct {
	Body struct {
		Fault     *faultXML `xml:"Fault"`
		Operation struct {
			ResponseMessages struct {
				All []message `xml:",any"`
			}
		} `xml:",any"`
	}
}

type faultXML struct {
	String string  `xml:"faultstring"`
	Code   string  `xml:"detail>ResponseCode"`
	Text   string  `xml:"detail>Message"`
	Values []value `xml:"detail>MessageXml>Value"`
}

type value struct {
	Name string `xml:"Name,attr"`
	Text string `xml:",chardata"`
}

// message is the answer about one object.
type message struct {
	Class  string  `xml:"ResponseClass,attr"`
	Code   string  `xml:"ResponseCode"`
	Text   string  `xml:"MessageText"`
	Values []value `xml:"MessageXml>Value"`

	SyncState    string
	IncludesLast bool `xml:"IncludesLastItemInRange"`
	Changes      struct {
		All []change `xml:",any"`
	}
	Folders    []folderXML `xml:"Folders>Folder"`
	RootFolder struct {
		Folders []folderXML `xml:"Folders>Folder"`
		Items   items
	}
	Items          items
	SubscriptionID string `xml:"SubscriptionId"`
	Notifications  *struct{}
	Status         string `xml:"ConnectionStatus"`
}

// change is one line of a sync: Create, Update, Delete, ReadFlagChange.
type change struct {
	XMLName xml.Name
	Items   []item `xml:",any"` // Message, MeetingRequest, Item...
}

type items struct {
	All []item `xml:",any"`
}

type item struct {
	ID struct {
		ID        string `xml:"Id,attr"`
		ChangeKey string `xml:"ChangeKey,attr"`
	} `xml:"ItemId"`
	Received  time.Time `xml:"DateTimeReceived"`
	Created   time.Time `xml:"DateTimeCreated"`
	Size      int64
	Submitted bool `xml:"IsSubmitted"`
}

type folderXML struct {
	ID struct {
		ID string `xml:"Id,attr"`
	} `xml:"FolderId"`
	TotalCount int
}

// parse reads a document.
func parse(b []byte) (document, error) {
	var d document
	err := xml.Unmarshal(clean(b), &d)
	return d, err
}

// reference is a character reference: &#x0B; or &#11;.
var reference = regexp.MustCompile(`&#(x[0-9A-Fa-f]{1,6}|[0-9]{1,7});`)

// clean takes out what XML 1.0 section 2.2 does not allow. Exchange writes it when it stands in a mail's properties, and
// encoding/xml refuses the whole document for it.
func clean(b []byte) []byte {
	b = reference.ReplaceAllFunc(b, func(ref []byte) []byte {
		digits, base := string(ref[2:len(ref)-1]), 10
		if digits[0] == 'x' {
			digits, base = digits[1:], 16
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil || !allowed(rune(n)) {
			return nil
		}
		return ref
	})
	return bytes.Map(func(r rune) rune {
		if !allowed(r) {
			return -1
		}
		return r
	}, b)
}

func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}
