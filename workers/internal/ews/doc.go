// Package ews reads a folder of a mailbox over Exchange Web Services, and sends a mailbox's mail: Exchange on premises, and
// Exchange Online until EWS is switched off there (2027-04-01 at the latest; 403 before that where the tenant does not allow
// it any more).
//
// A Source holds no session: every request is one POST of a SOAP 1.1 envelope with a credential of its own. New mail is
// found by SyncFolderItems; GetItem brings the MIME form, which streams out of the XML without lying in memory.
//
//   - Handle: the ItemId, which changes when the message moves. Key: the ItemId of where the message was first seen, since
//     nothing else is unique and outlives a lost SyncState. Exchange rebuilds MIME, so no hash of the bytes could be one.
//   - Cursor: the SyncState, opaque and some kilobytes long. ErrorInvalidSyncStateData: from the beginning.
//   - With an application's own token every request names the mailbox in ExchangeImpersonation; with a user's it must not.
//     X-AnchorMailbox is always sent: without it Exchange Online answers slowly, or with 503.
//   - HTTP 200 means nothing: each object has a response code of its own, and a fault is a 500 (errors.go).
//   - New mail at once by a streaming subscription with affinity (events.go): an event says "sync now" and no more.
//   - Exchange writes characters into XML that XML does not allow; they are taken out before it is parsed (soap.go).
//
// A Transport sends in two steps, a draft by CreateItem and SendItem for it, so that one can look instead of guess what
// became of a message (draft.go):
//
//   - The draft's ItemId dies when it is sent, so the draft carries a mark of its own, a named property that stays with the
//     message: in the drafts it waits, in the outbox or the sent items it is gone out. Item and change key are remembered to
//     save a look; when they are void or stale, the mark finds the draft.
//   - Exchange sends to everybody whom the header names and to nobody else. Who stands only in the envelope is given to it as
//     BccRecipients, which take the place of the message's own; who stands only in the header makes the message unsendable.
//   - The message goes into the request as base64, a piece at a time (upload.go).
//   - What codes mean for mail that goes out is a table of its own (outgoing.go).
//
// Every request validates against Microsoft's published schema (messages.xsd); golden copies are in testdata.
package ews
