package main

import (
	"sluice/stages/adapter"
	"sluice/stages/adapter/webhook"
	"sluice/stages/dispatch/methods/system"
	"sluice/storage/config"
)

// channels are the channels of this build. A new one is a folder in stages/adapter and
// one line in openChannels.
type channels struct {
	senders []adapter.Channel
	rows    []system.Channel
}

func (g *Gateway) openChannels(snap *config.Snapshot) (channels, error) {
	var c channels
	hookCfg := section[webhook.Config](snap, "channels.webhook")
	hook, err := webhook.New(hookCfg, g.log)
	if err != nil {
		return c, err
	}
	accounts := []string{}
	for name, t := range hookCfg.Targets {
		if t.Secret != "" {
			accounts = append(accounts, name)
		}
	}
	c.add(hook, system.Channel{ID: "webhook", Label: "Webhook", Configured: len(accounts) > 0, Running: len(accounts) > 0, Accounts: accounts})
	return c, nil
}

func (c *channels) add(ch adapter.Channel, row system.Channel) {
	c.senders = append(c.senders, ch)
	c.rows = append(c.rows, row)
}

// views are the configured channels for health and channels.status.
func (c *channels) views() []system.Channel {
	rows := []system.Channel{}
	for _, r := range c.rows {
		if r.Configured {
			rows = append(rows, r)
		}
	}
	return rows
}

// available are the channels that can send.
func (c *channels) available() []string {
	names := []string{}
	for _, r := range c.views() {
		names = append(names, r.ID)
	}
	return names
}
