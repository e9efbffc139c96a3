package main

import (
	"sluice/stages/defend"
	"sluice/stages/defend/command"
	"sluice/stages/defend/prompt"
	"sluice/stages/defend/rules"
	"sluice/storage/config"
)

// defenders are asked in this order; their findings are combined into one verdict
// (defend.Findings). A new one is a folder in stages/defend and one line here. Those that
// know what a text is come first, then those that know where it comes from, and last the
// one that may wait for the network.
func (g *Gateway) defenders(snap *config.Snapshot) ([]defend.Defender, error) {
	list, err := g.textDefenders(snap)
	if err != nil {
		return nil, err
	}
	list = append(list, g.defence.host, g.defence.reputation)
	if g.opts.defenders != nil {
		list = g.opts.defenders(list)
	}
	return list, nil
}

// textDefenders are those that `sluice scan` judges with, too.
func (g *Gateway) textDefenders(snap *config.Snapshot) ([]defend.Defender, error) {
	d := &g.defence
	var err error
	if d.prompt, err = prompt.NewDefender(); err != nil {
		return nil, err
	}
	judge, err := command.New(g.commandConfig(snap))
	if err != nil {
		return nil, err
	}
	d.command = command.NewDefender(judge)
	if d.rules, err = rules.New(g.rulesConfig(snap)); err != nil {
		return nil, err
	}
	return []defend.Defender{d.prompt, d.command, d.secrets, d.rules, d.policy}, nil
}
