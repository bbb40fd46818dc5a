// Package seal is what the stores have in common: how tokens and credential records are encrypted at rest and what their
// keys are called. A store sees sealed bytes and names only.
//
// Values are sealed with a Tink AEAD keyset: the primary key writes, every key of the set reads, so a keyset is rotated
// without touching what is stored. The associated data is the length-prefixed (version, kind, key, credential version): a
// value that was copied to another key does not open. What does not open is keeper.ErrSealed, never plain text.
package seal
