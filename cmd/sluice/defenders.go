package main

import (
	"sluice/stages/defend"
	"sluice/stages/defend/rules"
	"sluice/storage/config"
)

// defenders are asked in this order; their findings add up to one verdict. A new one is
// a folder in stages/defend and one line here.
func (g *Gateway) defenders(snap *config.Snapshot) ([]defend.Defender, error) {
	var err error
	if g.rules, err = rules.New(section[rules.Config](snap, "defend.rules")); err != nil {
		return nil, err
	}
	list := []defend.Defender{g.rules}
	if g.opts.defenders != nil {
		list = g.opts.defenders(list)
	}
	return list, nil
}
