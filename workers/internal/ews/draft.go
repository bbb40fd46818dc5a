package ews

import (
	"encoding/json"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// draft is what the outbox remembers of a draft. The ItemId is good until the draft is sent, or moved by somebody; the mark
// stays with the message for good.
type draft struct {
	Version   int    `json:"v"`
	Mark      string `json:"mark"`
	ID        string `json:"id"`
	ChangeKey string `json:"key"`
}

// Bounds for a draft's name and what is in it, in bytes. Exchange's ids have 512 at most; JSON may write a byte as six.
const (
	maxName = 8 << 10
	maxID   = 512
	maxMark = 64
)

// readDraft reads a name. What is none may be that of another protocol's draft: the mailbox had another server-type then.
func readDraft(name string) (draft, error) {
	var d draft
	if len(name) > maxName || json.Unmarshal([]byte(name), &d) != nil || d.Version != version || !d.sound() {
		return draft{}, fault.Newf(fault.Permanent, "the draft is none that this version of EWS made")
	}
	return d, nil
}

func (d draft) sound() bool {
	return d.Mark != "" && len(d.Mark) <= maxMark && d.ID != "" && len(d.ID) <= maxID && len(d.ChangeKey) <= maxID
}

func (d draft) name() (string, error) {
	if !d.sound() {
		return "", fault.Newf(fault.Temporary, "make a draft: the answer has no usable ItemId")
	}
	b, err := json.Marshal(d)
	return string(b), err
}

// markField is the property that carries the mark: a string of our own name, which every mailbox has room for.
const markField = `<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="mailporter-draft" PropertyType="String"/>`

// Folders of drafts: where they are made, where they wait while Exchange sends them, and where they are afterwards.
const (
	draftsFolder = "drafts"
	outboxFolder = "outbox"
	sentFolder   = "sentitems"

	searched = 3 // so many of them
)

// distinguished is the id of a folder in owner's mailbox; empty = the mailbox that the credential opens.
func distinguished(folder, owner string) string {
	if owner == "" {
		return `<t:DistinguishedFolderId Id="` + folder + `"/>`
	}
	return `<t:DistinguishedFolderId Id="` + folder + `"><t:Mailbox><t:EmailAddress>` + escape(owner) + "</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"
}

// createRequest makes a draft. Element order is the schema's: what follows the MIME content adds to it, or takes the place
// of its own, as BccRecipients does.
func createRequest(owner, mark string, bcc []string, b mail.Body) request {
	return request{
		what: "make a draft", acts: true, upload: &upload{message: b},
		body: `<m:CreateItem MessageDisposition="SaveOnly"><m:SavedItemFolderId>` + distinguished(draftsFolder, owner) + "</m:SavedItemFolderId>" +
			`<m:Items><t:Message><t:MimeContent CharacterSet="UTF-8">`,
		after: "</t:MimeContent><t:ExtendedProperty>" + markField + "<t:Value>" + escape(mark) + "</t:Value></t:ExtendedProperty>" + bccXML(bcc) +
			"</t:Message></m:Items></m:CreateItem>",
	}
}

func bccXML(addresses []string) string {
	if len(addresses) == 0 {
		return ""
	}
	var all strings.Builder
	for _, a := range addresses {
		all.WriteString("<t:Mailbox><t:EmailAddress>" + escape(a) + "</t:EmailAddress></t:Mailbox>")
	}
	return "<t:BccRecipients>" + all.String() + "</t:BccRecipients>"
}

// sendRequest sends a draft, of which a copy stays.
func sendRequest(owner string, d draft) request {
	return request{what: "send the draft", acts: true, body: `<m:SendItem SaveItemToFolder="true"><m:ItemIds><t:ItemId Id="` + escape(d.ID) + `" ChangeKey="` + escape(d.ChangeKey) +
		`"/></m:ItemIds><m:SavedItemFolderId>` + distinguished(sentFolder, owner) + "</m:SavedItemFolderId></m:SendItem>"}
}

// findRequest looks for a mark in the order in which a message goes through the folders, so that it is not missed on its
// way. There is one answer for each folder.
func findRequest(owner, mark string) request {
	return request{what: "look for the draft", body: `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>` +
		`<t:FieldURI FieldURI="item:IsSubmitted"/></t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="1" Offset="0" BasePoint="Beginning"/>` +
		"<m:Restriction><t:IsEqualTo>" + markField + `<t:FieldURIOrConstant><t:Constant Value="` + escape(mark) + `"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>` +
		"<m:ParentFolderIds>" + distinguished(draftsFolder, owner) + distinguished(outboxFolder, owner) + distinguished(sentFolder, owner) + "</m:ParentFolderIds></m:FindItem>"}
}
