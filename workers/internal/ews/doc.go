// Package ews reads a folder of a mailbox over Exchange Web Services: Exchange on premises, and Exchange Online until EWS
// is switched off there (2027-04-01 at the latest; 403 before that where the tenant does not allow it any more).
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
// Every request validates against Microsoft's published schema (messages.xsd); golden copies are in testdata.
package ews
