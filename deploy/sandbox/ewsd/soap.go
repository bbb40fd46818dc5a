package ewsd

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mailporter/sandbox/fault"
)

const (
	envelopeSpace = "http://schemas.xmlsoap.org/soap/envelope/"
	messagesSpace = "http://schemas.microsoft.com/exchange/services/2006/messages"
	typesSpace    = "http://schemas.microsoft.com/exchange/services/2006/types"
)

// envelope is a request. Fields are matched by their local names within the schema's namespaces.
type envelope struct {
	XMLName xml.Name
	Header  struct {
		Version struct {
			Version string `xml:"Version,attr"`
		} `xml:"http://schemas.microsoft.com/exchange/services/2006/types RequestServerVersion"`
		Impersonation *struct {
			SID struct {
				PrincipalName      string
				PrimarySMTPAddress string `xml:"PrimarySmtpAddress"`
				SMTPAddress        string `xml:"SmtpAddress"`
			} `xml:"ConnectingSID"`
		} `xml:"http://schemas.microsoft.com/exchange/services/2006/types ExchangeImpersonation"`
	} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Header"`
	Body struct {
		GetFolder          *getFolder
		FindFolder         *findFolder
		CreateFolder       *createFolder
		SyncFolderItems    *syncFolderItems
		FindItem           *findItem
		GetItem            *getItem
		MoveItem           *moveItem
		DeleteItem         *deleteItem
		UpdateItem         *updateItem
		CreateItem         *createItem
		SendItem           *sendItem
		Subscribe          *subscribe
		GetStreamingEvents *getStreamingEvents
		Unsubscribe        *unsubscribe
	} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
}

// ref names a folder or an item.
type ref struct {
	ID        string `xml:"Id,attr"`
	ChangeKey string `xml:"ChangeKey,attr"`
}

// folderRef is FolderId or DistinguishedFolderId.
type folderRef struct {
	FolderID      *ref              `xml:"FolderId"`
	Distinguished *distinguishedRef `xml:"DistinguishedFolderId"`
}

// folderRefs are several of them.
type folderRefs struct {
	FolderIDs     []ref              `xml:"FolderId"`
	Distinguished []distinguishedRef `xml:"DistinguishedFolderId"`
}

// distinguishedRef names a folder by what it is for, in the caller's mailbox unless it says in which.
type distinguishedRef struct {
	ID      string `xml:"Id,attr"`
	Mailbox string `xml:"Mailbox>EmailAddress"`
}

// extendedField is a property that clients make up.
type extendedField struct {
	Set  string `xml:"DistinguishedPropertySetId,attr"`
	Name string `xml:"PropertyName,attr"`
	Type string `xml:"PropertyType,attr"`
}

// known tells whether the sandbox keeps it.
func (f extendedField) known() bool {
	return f.Set == "PublicStrings" && f.Name != "" && f.Type == "String"
}

// key is its name in the store. Exchange takes no notice of a name's case.
func (f extendedField) key() string { return "PublicStrings/" + strings.ToLower(f.Name) }

// recipients are those of a list; nil if there was no list.
type recipients struct {
	Addresses []string `xml:"Mailbox>EmailAddress"`
}

// isEqualTo compares a field with a constant.
type isEqualTo struct {
	Field struct {
		URI string `xml:"FieldURI,attr"`
	} `xml:"FieldURI"`
	Extended *extendedField `xml:"ExtendedFieldURI"`
	Constant struct {
		Value string `xml:"Value,attr"`
	} `xml:"FieldURIOrConstant>Constant"`
}

type shape struct {
	BaseShape   string
	IncludeMIME bool `xml:"IncludeMimeContent"`
	Properties  []struct {
		URI string `xml:"FieldURI,attr"`
	} `xml:"AdditionalProperties>FieldURI"`
}

func (s shape) has(uri string) bool {
	for _, p := range s.Properties {
		if p.URI == uri {
			return true
		}
	}
	return false
}

type (
	getFolder struct {
		Shape   shape     `xml:"FolderShape"`
		Folders folderRef `xml:"FolderIds"`
	}
	findFolder struct {
		Traversal string `xml:"Traversal,attr"`
		Name      struct {
			URI struct {
				URI string `xml:"FieldURI,attr"`
			} `xml:"FieldURI"`
			Constant struct {
				Value string `xml:"Value,attr"`
			} `xml:"FieldURIOrConstant>Constant"`
		} `xml:"Restriction>IsEqualTo"`
		Parents folderRef `xml:"ParentFolderIds"`
	}
	createFolder struct {
		Parent folderRef `xml:"ParentFolderId"`
		Names  []string  `xml:"Folders>Folder>DisplayName"`
	}
	syncFolderItems struct {
		Shape     shape     `xml:"ItemShape"`
		Folder    folderRef `xml:"SyncFolderId"`
		SyncState string
		Max       int `xml:"MaxChangesReturned"`
	}
	findItem struct {
		Shape shape `xml:"ItemShape"`
		View  struct {
			Max    int `xml:"MaxEntriesReturned,attr"`
			Offset int `xml:"Offset,attr"`
		} `xml:"IndexedPageItemView"`
		Restriction *isEqualTo `xml:"Restriction>IsEqualTo"`
		Order       struct {
			Order string `xml:"Order,attr"`
		} `xml:"SortOrder>FieldOrder"`
		Parents folderRefs `xml:"ParentFolderIds"`
	}
	getItem struct {
		Shape shape `xml:"ItemShape"`
		Items []ref `xml:"ItemIds>ItemId"`
	}
	moveItem struct {
		To    folderRef `xml:"ToFolderId"`
		Items []ref     `xml:"ItemIds>ItemId"`
	}
	deleteItem struct {
		Type     string `xml:"DeleteType,attr"`
		Meetings string `xml:"SendMeetingCancellations,attr"`
		Tasks    string `xml:"AffectedTaskOccurrences,attr"`
		Items    []ref  `xml:"ItemIds>ItemId"`
	}
	updateItem struct {
		Resolution  string `xml:"ConflictResolution,attr"`
		Disposition string `xml:"MessageDisposition,attr"`
		Changes     []struct {
			Item   ref   `xml:"ItemId"`
			IsRead *bool `xml:"Updates>SetItemField>Message>IsRead"`
		} `xml:"ItemChanges>ItemChange"`
	}
	createItem struct {
		Disposition string     `xml:"MessageDisposition,attr"`
		Folder      *folderRef `xml:"SavedItemFolderId"`
		Messages    []mimeItem `xml:"Items>Message"`
	}
	mimeItem struct {
		MIME       string `xml:"MimeContent"` // base64
		Properties []struct {
			Field extendedField `xml:"ExtendedFieldURI"`
			Value string
		} `xml:"ExtendedProperty"`
		To  *recipients `xml:"ToRecipients"`
		Cc  *recipients `xml:"CcRecipients"`
		Bcc *recipients `xml:"BccRecipients"`
	}
	sendItem struct {
		Save   string     `xml:"SaveItemToFolder,attr"`
		Items  []ref      `xml:"ItemIds>ItemId"`
		Folder *folderRef `xml:"SavedItemFolderId"`
	}
	subscribe struct {
		Streaming *struct {
			Folders folderRef `xml:"FolderIds"`
			Types   []string  `xml:"EventTypes>EventType"`
		} `xml:"StreamingSubscriptionRequest"`
	}
	getStreamingEvents struct {
		IDs     []string `xml:"SubscriptionIds>SubscriptionId"`
		Timeout int      `xml:"ConnectionTimeout"` // minutes
	}
	unsubscribe struct {
		ID string `xml:"SubscriptionId"`
	}
)

// escape makes text safe within XML.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder does not fail
	return b.String()
}

// document is a whole SOAP answer around a body.
func document(body string) []byte {
	return []byte(`<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="` + envelopeSpace + `"><s:Header>` +
		`<h:ServerVersionInfo MajorVersion="15" MinorVersion="20" MajorBuildNumber="9000" MinorBuildNumber="1" Version="V2018_01_08" xmlns:h="` + typesSpace + `"/>` +
		`</s:Header><s:Body xmlns:m="` + messagesSpace + `" xmlns:t="` + typesSpace + `">` + body + `</s:Body></s:Envelope>`)
}

// message is the answer about one object.
type message struct {
	code    string // empty = NoError
	text    string
	backOff time.Duration
	content string // XML behind the response code
}

func (m message) xml(operation string) string {
	class, code, text := "Success", "NoError", ""
	if m.code != "" {
		class, code, text = "Error", m.code, "<m:MessageText>"+escape(m.text)+"</m:MessageText>"
	}
	tail := ""
	if m.code != "" {
		tail = "<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>"
	}
	if m.backOff > 0 {
		tail += fmt.Sprintf(`<m:MessageXml><t:Value Name="BackOffMilliseconds">%d</t:Value></m:MessageXml>`, m.backOff.Milliseconds())
	}
	return `<m:` + operation + `ResponseMessage ResponseClass="` + class + `">` + text + "<m:ResponseCode>" + code + "</m:ResponseCode>" + tail + m.content + `</m:` + operation + `ResponseMessage>`
}

// answers is the document with an answer about each object.
func answers(operation string, all ...message) fault.Answer {
	var b strings.Builder
	for _, m := range all {
		b.WriteString(m.xml(operation))
	}
	return xmlAnswer(http.StatusOK, document("<m:"+operation+"Response><m:ResponseMessages>"+b.String()+"</m:ResponseMessages></m:"+operation+"Response>"))
}

func xmlAnswer(status int, body []byte) fault.Answer {
	return fault.Answer{Status: status, Header: http.Header{"Content-Type": {"text/xml; charset=utf-8"}}, Body: body}
}

// refuse is a fault: the whole request failed.
func refuse(code, text string, backOff time.Duration) fault.Answer {
	detail := `<e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">` + code + `</e:ResponseCode>` +
		`<e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">` + escape(text) + `</e:Message>`
	if backOff > 0 {
		detail += fmt.Sprintf(`<t:MessageXml><t:Value Name="BackOffMilliseconds">%d</t:Value></t:MessageXml>`, backOff.Milliseconds())
	}
	return xmlAnswer(http.StatusInternalServerError, document(`<s:Fault><faultcode xmlns:a="`+typesSpace+`">a:`+code+`</faultcode>`+
		`<faultstring xml:lang="en-US">`+escape(text)+`</faultstring><detail>`+detail+`</detail></s:Fault>`))
}
