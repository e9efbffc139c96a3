package storage

// The collection Revisions holds <12-digit revision> -> ConfigRevision.

// ConfigRevision is one version of the configuration document that was in force.
type ConfigRevision struct {
	Revision int64  `json:"revision"` // from 1, without gaps among those that are kept
	Hash     string `json:"hash"`     // of Raw, as config.get shows it
	Raw      string `json:"raw"`      // the document as it was written
	Author   string `json:"author"`   // who changed it: file, a method and its device, ...
	AtMs     int64  `json:"atMs"`
}

// AppendConfigRevision stores rev with the next revision number, which it sets, and
// removes the oldest so that keep are left (at least 1).
func AppendConfigRevision(tx Tx, rev *ConfigRevision, keep int) error {
	latest, err := ListConfigRevisions(tx, 1)
	if err != nil {
		return err
	}
	rev.Revision = 1
	if len(latest) > 0 {
		rev.Revision = latest[0].Revision + 1
	}
	if err := putJSON(tx, Revisions, seqKey(rev.Revision), rev); err != nil {
		return err
	}
	oldest := rev.Revision - int64(max(keep, 1)) + 1
	if oldest <= 1 {
		return nil
	}
	keys, err := keysOf(tx, Revisions, Range{From: seqKey(oldest - 1), Reverse: true}, 100)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := tx.Delete(Revisions, key); err != nil {
			return err
		}
	}
	return nil
}

// GetConfigRevision returns one revision, or ErrNotFound.
func GetConfigRevision(r Reader, revision int64) (ConfigRevision, error) {
	return getJSON[ConfigRevision](r, Revisions, seqKey(revision))
}

// ListConfigRevisions returns at most limit revisions, the newest first.
func ListConfigRevisions(r Reader, limit int) (revs []ConfigRevision, err error) {
	err = r.Scan(Revisions, Range{Reverse: true, Limit: limit}, func(key string, raw []byte) error {
		var rev ConfigRevision
		err := decode(Revisions, key, raw, &rev)
		revs = append(revs, rev)
		return err
	})
	return revs, err
}
