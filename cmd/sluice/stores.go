package main

import (
	"context"
	"fmt"
	"path/filepath"

	"sluice/stages/persist"
	"sluice/storage"
	"sluice/storage/bolt"
	"sluice/storage/config"
	"sluice/storage/jsonfile"
	"sluice/storage/sqlite"
)

// backends are the stores. A new one is a folder in storage that passes storagetest and
// one line here.
var backends = map[string]func(path string, s *config.Snapshot) (storage.Store, error){
	"bolt": func(path string, s *config.Snapshot) (storage.Store, error) {
		return open(path, s, "storage.bolt", bolt.Open)
	},
	"sqlite": func(path string, s *config.Snapshot) (storage.Store, error) {
		return open(path, s, "storage.sqlite", sqlite.Open)
	},
	"jsonfile": func(path string, s *config.Snapshot) (storage.Store, error) {
		return open(path, s, "storage.jsonfile", jsonfile.Open)
	},
}

func open[C any, S storage.Store](path string, s *config.Snapshot, key string, fn func(string, C) (S, error)) (storage.Store, error) {
	cfg, err := config.Of[C](s, key)
	if err != nil {
		return nil, err
	}
	st, err := fn(path, cfg)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// openStore opens the configured backend.
func openStore(loc location, s *config.Snapshot) (storage.Store, string, error) {
	cfg, err := config.Of[storageConfig](s, "storage")
	if err != nil {
		return nil, "", err
	}
	path := cfg.Path
	if path == "" {
		path = filepath.Join(loc.state, defaultStoreName(cfg.Backend))
	} else if !filepath.IsAbs(path) {
		trailing := path[len(path)-1] == '/'
		path = filepath.Join(loc.state, path)
		if trailing {
			path += "/"
		}
	}
	kind := cfg.Backend
	if kind == "" {
		kind = storage.KindForPath(path)
	}
	fn := backends[kind]
	if fn == nil {
		return nil, "", fmt.Errorf("storage.backend: %q is none of bolt, sqlite, jsonfile", kind)
	}
	st, err := fn(path, s)
	if err != nil {
		return nil, "", fmt.Errorf("state cannot be opened: %w", err)
	}
	return st, path, nil
}

func defaultStoreName(backend string) string {
	switch backend {
	case "sqlite":
		return "sluice.sqlite"
	case "jsonfile":
		return "sluice.d"
	}
	return "sluice.db"
}

// groupCommit is a store whose writes join persist's batches, for what no envelope
// carries.
type groupCommit struct {
	storage.Store
	stage func() *persist.Stage
}

// Update implements storage.Store.
func (g groupCommit) Update(ctx context.Context, fn func(storage.Tx) error) error {
	return g.stage().Update(ctx, fn)
}
