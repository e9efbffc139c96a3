package storage

import (
	"os"
	"path/filepath"
	"strings"
)

// The names of the backends, as in Health.Backend and in the configuration.
const (
	KindBolt     = "bolt"
	KindSQLite   = "sqlite"
	KindJSONFile = "jsonfile"
)

// KindForPath names the backend that a path's ending asks for: "sqlite" for .sqlite
// and .sqlite3; "jsonfile" for a path that ends in a slash or in .d, or that is a
// folder already; "bolt" for .db, .bolt and everything else, as it is the default.
// It does not open anything: cmd imports the backends and opens the one named here.
func KindForPath(path string) string {
	if strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(filepath.Separator)) {
		return KindJSONFile
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".sqlite", ".sqlite3":
		return KindSQLite
	case ".db", ".bolt":
		return KindBolt
	case ".d":
		return KindJSONFile
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return KindJSONFile
	}
	return KindBolt
}
