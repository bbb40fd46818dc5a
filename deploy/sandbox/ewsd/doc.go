// Package ewsd is the mail part of Exchange Web Services over the sandbox's mail store: folders, SyncFolderItems, GetItem with
// MIME, moving, deleting, marking, streaming notifications, and sending, with a draft before it or without.
//
// It is strict where clients go wrong: app-only tokens must impersonate and delegated ones must not, X-AnchorMailbox must be
// there, ids change when a message moves, a sync lists the newest first, MIME goes one item at a time, events need the
// affinity cookie and end after their time, a draft is sent with its current change key or not at all, with the right to
// send as whoever stands in From, and its id is void then. Errors come as HTTP 200 with a response code, as faults, or as a
// status alone, each where Exchange does it so.
package ewsd
