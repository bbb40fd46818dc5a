package file

import (
	"database/sql"
	"fmt"
	"testing"
)

// prepared is how many statements an idle connection keeps.
func prepared(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Raw(func(raw any) error { n = len(raw.(*conn).idle); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// one is a database with a single connection.
func one(t *testing.T) *sql.DB {
	t.Helper()
	db := sql.OpenDB(connector{"file:" + t.TempDir() + "/x.db?" + pragmas})
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Exec("CREATE TABLE numbers (n INTEGER PRIMARY KEY); INSERT INTO numbers VALUES (1), (2), (3)"); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestStatementsAreKept: the same text is prepared once, and not without bounds.
func TestStatementsAreKept(t *testing.T) {
	db := one(t)
	before := prepared(t, db)
	for i := range 3 * mostPrepared {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM numbers WHERE n > ?", i).Scan(&n); err != nil || n != max(0, 3-i) {
			t.Fatalf("%d numbers above %d, %v", n, i, err)
		}
	}
	if n := prepared(t, db); n != before+1 {
		t.Errorf("%d statements are kept for one text", n-before)
	}
	for i := range 3 * mostPrepared {
		if _, err := db.Exec(fmt.Sprintf("DELETE FROM numbers WHERE n = -%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := prepared(t, db); n != mostPrepared {
		t.Errorf("%d statements are kept, want %d", n, mostPrepared)
	}
}

// TestOneTextTwiceAtATime: a query within the rows of the same query has a statement of its own.
func TestOneTextTwiceAtATime(t *testing.T) {
	tx, err := one(t).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	const query = "SELECT n FROM numbers ORDER BY n"
	outer, err := tx.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	var got string
	for outer.Next() {
		var a, b int
		if err := outer.Scan(&a); err != nil {
			t.Fatal(err)
		}
		inner, err := tx.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		for inner.Next() {
			if err := inner.Scan(&b); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(a, b, " ")
		}
		if err := inner.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "1 1 1 2 1 3 2 1 2 2 2 3 3 1 3 2 3 3 "; got != want || outer.Err() != nil {
		t.Errorf("%q, %v", got, outer.Err())
	}
}

// TestAFailedStatementIsNotKept: and the next of the same text works.
func TestAFailedStatementIsNotKept(t *testing.T) {
	db := one(t)
	const insert = "INSERT INTO numbers VALUES (?)"
	for range 3 {
		if _, err := db.Exec(insert, 1); err == nil {
			t.Fatal("a number twice")
		}
	}
	if _, err := db.Exec(insert, 4); err != nil {
		t.Error(err)
	}
	if _, err := db.Exec("no SQL at all"); err == nil {
		t.Error("no SQL was taken")
	}
}
