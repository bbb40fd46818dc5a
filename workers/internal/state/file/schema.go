package file

import (
	"database/sql"
	"fmt"
)

// migrations lead from one user_version to the next; the first makes an empty database. They are never changed, only added
// to: a folder may be as old as it likes.
//
// Times are Unix microseconds. A message's next is NULL while no attempt is planned; claim is NULL while nobody holds it; open
// counts the recipients that are neither sent nor dead, which saves those who count what waits a walk over recipients. Its
// bytes are in bodies, apart from the row that every attempt rewrites, or in the spool file of that name. A request's sent is
// how its message stood when it left, as JSON.
var migrations = []string{`
CREATE TABLE cursors (mailbox TEXT, folder TEXT, cursor BLOB, PRIMARY KEY (mailbox, folder)) STRICT;
CREATE TABLE quarantine (
	mailbox TEXT, folder TEXT, key TEXT, id TEXT NOT NULL, size INTEGER NOT NULL, arrived INTEGER, reason TEXT NOT NULL,
	moved INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (mailbox, folder, key)) STRICT;
CREATE INDEX quarantine_since ON quarantine (since);
CREATE TABLE messages (
	id INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT NOT NULL, envelope TEXT NOT NULL, size INTEGER NOT NULL,
	accepted INTEGER NOT NULL, next INTEGER, attempts INTEGER NOT NULL DEFAULT 0, doubt INTEGER NOT NULL DEFAULT 0,
	claim TEXT, until INTEGER, spool TEXT) STRICT;
CREATE INDEX messages_due ON messages (mailbox, next, id) WHERE claim IS NULL AND next IS NOT NULL;
CREATE INDEX messages_claimed ON messages (mailbox, until) WHERE claim IS NOT NULL;
CREATE INDEX messages_spooled ON messages (spool) WHERE spool IS NOT NULL;
CREATE TABLE bodies (message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, body BLOB NOT NULL) STRICT;
CREATE TABLE recipients (
	message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, position INTEGER NOT NULL, address TEXT NOT NULL,
	state INTEGER NOT NULL, reason TEXT NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (message, position)) STRICT, WITHOUT ROWID;
CREATE TABLE requests (
	mailbox TEXT, request TEXT, message INTEGER NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (mailbox, request)) STRICT, WITHOUT ROWID;
CREATE INDEX requests_added ON requests (added);
`, `
CREATE TABLE deliveries (id TEXT PRIMARY KEY, noted INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_noted ON deliveries (noted);
`, `
ALTER TABLE messages ADD COLUMN draft TEXT NOT NULL DEFAULT '';
CREATE TABLE sent (
	mailbox TEXT, unit INTEGER, window INTEGER, slot INTEGER, amount INTEGER NOT NULL, ends INTEGER NOT NULL,
	PRIMARY KEY (mailbox, unit, window, slot)) STRICT, WITHOUT ROWID;
CREATE INDEX sent_ends ON sent (ends);
CREATE TABLE closed (mailbox TEXT PRIMARY KEY, until INTEGER NOT NULL, why TEXT NOT NULL) STRICT, WITHOUT ROWID;
`, `
ALTER TABLE messages ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET open = (SELECT count(*) FROM recipients WHERE message = id AND state NOT IN (2, 5));
CREATE INDEX messages_waiting ON messages (mailbox, accepted, open, size) WHERE next IS NOT NULL;
`, `
ALTER TABLE requests ADD COLUMN sent TEXT;
CREATE INDEX requests_message ON requests (message);
`}

// migrate brings the schema up to date, each step whole or not at all.
func (s *Store) migrate() error {
	var have int
	if err := s.write.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("open state in %s: %w", s.dir, err)
	}
	if have > len(migrations) {
		return fmt.Errorf("open state in %s: its schema %d was made by a newer version of the worker", s.dir, have)
	}
	for i := have; i < len(migrations); i++ {
		err := s.transact(func(tx *sql.Tx) error {
			_, err := tx.Exec(migrations[i] + fmt.Sprintf("PRAGMA user_version = %d;", i+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("prepare state in %s: %w", s.dir, err)
		}
	}
	return nil
}
