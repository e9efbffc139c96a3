package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"; registered by its own init, as database/sql wants

	"sluice/storage"
)

// Nothing here passes a caller's context to SQLite: the driver would interrupt a
// statement half-way, and a commit that has begun is finished.
var background = context.Background()

// open returns a pool of connections to the database at path.
func open(path string, cfg Config, readOnly bool, extra ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, p := range append([]string{
		fmt.Sprintf("busy_timeout(%d)", cfg.BusyTimeoutMs),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		fmt.Sprintf("journal_size_limit(%d)", cfg.JournalSizeLimitBytes),
		fmt.Sprintf("cache_size(-%d)", cfg.CacheBytes>>10),
		"trusted_schema(0)",
	}, extra...) {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Set("_query_only", "1")
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	return sql.Open("sqlite", u.String())
}

// session is one connection with its prepared statements. One goroutine uses it at a
// time.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newSession(db *sql.DB) (*session, error) {
	conn, err := db.Conn(background)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, stmts: make(map[string]*sql.Stmt)}, nil
}

// stmt returns the prepared statement for a query; there are at most some ten for each
// collection.
func (s *session) stmt(query string) (*sql.Stmt, error) {
	if st := s.stmts[query]; st != nil {
		return st, nil
	}
	st, err := s.conn.PrepareContext(background, query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

func (s *session) exec(query string) error {
	_, err := s.conn.ExecContext(background, query)
	return err
}

// rollback ends a transaction. SQLite may have ended it itself, after a full disk.
func (s *session) rollback() error {
	if err := s.exec("ROLLBACK"); err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		return err
	}
	return nil
}

func (s *session) close() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// createTables makes a table for each collection. crc is disk.Checksum of the row.
func createTables(s *session) error {
	for _, c := range storage.Collections {
		if err := s.exec("CREATE TABLE IF NOT EXISTS " + table(c) +
			" (k TEXT PRIMARY KEY, v BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID"); err != nil {
			return fmt.Errorf("create the table of %s: %w", c, err)
		}
	}
	return nil
}

// table quotes the name of a collection, which is one of storage.Collections.
func table(c storage.Collection) string { return `"` + string(c) + `"` }
