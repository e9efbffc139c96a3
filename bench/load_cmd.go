package bench

import (
	"fmt"
	"strings"
	"time"

	"sluice/bench/load"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// loadFlags are the flags that the load commands share.
type loadFlags struct {
	cfg                               load.Config
	tokenFile, json                   string
	params                            []string
	duration, warmup, drain, settleIn time.Duration
}

// target adds the flags that say where to go.
func (l *loadFlags) target(f *pflag.FlagSet) {
	c := &l.cfg
	f.StringVar(&c.URL, "url", c.URL, "the gateway, ws://127.0.0.1:PORT")
	f.StringVar(&c.Token, "token", "", "shared secret")
	f.StringVar(&l.tokenFile, "token-file", "", "file with the shared secret")
	f.StringVar(&c.Password, "password", "", "password, for gateways in password mode")
	f.StringVar(&c.DeviceFile, "device", "", "device identity file; made if it is missing")
	f.BoolVar(&c.AllowRemote, "allow-remote", false, "permit a gateway on another machine")
	f.IntVar(&c.MinProtocol, "min-protocol", c.MinProtocol, "lowest protocol offered")
	f.IntVar(&c.MaxProtocol, "max-protocol", c.MaxProtocol, "highest protocol offered")
	f.IntVar(&c.PID, "pid", 0, "the server's process, for memory and CPU (Linux)")
	f.StringVar(&c.Name, "name", "", "name in reports (default: the URL)")
	f.StringVar(&l.json, "json", "", "write the result to this file; - is standard output")
	f.IntVar(&c.DialParallel, "dial-parallel", c.DialParallel, "handshakes at once")
}

// load adds the flags that say what to do there.
func (l *loadFlags) load(f *pflag.FlagSet) {
	c := &l.cfg
	f.IntVarP(&c.Connections, "connections", "c", c.Connections, "connections that carry load")
	f.IntVarP(&c.InFlight, "in-flight", "n", c.InFlight, "requests in flight on each (closed loop)")
	f.Float64Var(&c.RatePerSecond, "rate", c.RatePerSecond, "requests a second over all connections (open loop; latency from when each was due)")
	f.IntVar(&c.MaxOutstanding, "max-outstanding", c.MaxOutstanding, "open loop: unanswered requests on a connection")
	f.IntVar(&c.PaceMs, "pace-ms", c.PaceMs, "open loop: step in which arrivals are grouped")
	f.DurationVarP(&l.duration, "duration", "d", ms(c.DurationMs), "time of the measurement")
	f.IntVar(&c.Count, "count", 0, "end after that many requests, if earlier")
	f.DurationVar(&l.warmup, "warmup", ms(c.WarmupMs), "load before it, not counted")
	f.DurationVar(&l.drain, "drain", ms(c.DrainMs), "wait for answers after it; what is silent for longer is lost")
	f.StringVarP(&c.Mix, "mix", "m", c.Mix, "methods and weights, e.g. health=8,system-presence=1,chat.inject=1")
	f.StringArrayVarP(&l.params, "params", "p", nil, "METHOD={...} params template; knows {{n}} {{conn}} {{run}} {{uuid}} {{session}}")
	f.IntVar(&c.Sessions, "sessions", 0, "sessions to create for {{session}} (default: one a connection)")
	f.BoolVar(&c.KeepSessions, "keep-sessions", false, "leave them behind")
	f.StringVar(&c.Agent, "agent", c.Agent, "the agent that owns them")
	f.IntVar(&c.SlowReaders, "slow", 0, "connections that subscribe and read slowly, beside the load")
	f.IntVar(&c.SlowBytesPerSecond, "slow-rate", c.SlowBytesPerSecond, "bytes a second that each of them reads")
	f.Float64Var(&c.ProbesPerSecond, "probes", 0, "fresh connections a second up to hello-ok, beside the load")
	l.idle(f)
}

func (l *loadFlags) idle(f *pflag.FlagSet) {
	f.IntVar(&l.cfg.Idle, "idle", l.cfg.Idle, "authenticated connections to hold open")
	f.DurationVar(&l.settleIn, "settle", ms(l.cfg.IdleSettleMs), "wait before and after opening them, then read memory")
}

// config finishes the Config; flags that a command does not have keep its defaults.
func (l *loadFlags) config(f *pflag.FlagSet) (load.Config, error) {
	c := l.cfg
	for name, to := range map[string]*int{"duration": &c.DurationMs, "warmup": &c.WarmupMs, "drain": &c.DrainMs, "settle": &c.IdleSettleMs} {
		if f.Lookup(name) != nil {
			d, err := f.GetDuration(name)
			if err != nil {
				return c, fmt.Errorf("bench: %w", err)
			}
			*to = int(d / time.Millisecond)
		}
	}
	for _, p := range l.params {
		method, text, ok := strings.Cut(p, "=")
		if !ok {
			return c, fmt.Errorf("bench: --params %q: write METHOD={...}", p)
		}
		if c.Params == nil {
			c.Params = map[string]string{}
		}
		c.Params[method] = text
	}
	var err error
	c.Token, err = secret(c.Token, l.tokenFile)
	return c, err
}

func loadCommand() *cobra.Command {
	l := &loadFlags{cfg: load.Default()}
	cmd := &cobra.Command{
		Use:     "load --url ws://127.0.0.1:PORT",
		Short:   "Load on a gateway: throughput, latency, failures, lost answers, CPU and memory",
		Example: "  sluice bench load --url ws://127.0.0.1:18789 --token T --pid $(pidof sluice) -m health=8,chat.inject=1 --probes 20",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := l.config(cmd.Flags())
			if err != nil {
				return err
			}
			res, err := load.Run(cmd.Context(), cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return show(cmd, res, l.json)
		},
	}
	l.target(cmd.Flags())
	l.load(cmd.Flags())
	return cmd
}

func floodCommand() *cobra.Command {
	l, flood := &loadFlags{cfg: load.Default()}, load.DefaultFlood()
	l.cfg.DurationMs = 60_000
	cmd := &cobra.Command{
		Use:   "flood --url ws://127.0.0.1:PORT",
		Short: "Offer many times the capacity; fails unless each request is answered or refused and none lost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := l.config(cmd.Flags())
			if err != nil {
				return err
			}
			res, err := load.RunFlood(cmd.Context(), cfg, flood, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := show(cmd, res, l.json); err != nil {
				return err
			}
			if len(res.Flood.Broken) > 0 {
				return ErrBroken
			}
			return nil
		},
	}
	l.target(cmd.Flags())
	l.load(cmd.Flags())
	f := cmd.Flags()
	f.Float64Var(&flood.Factor, "factor", flood.Factor, "times the capacity")
	f.Float64Var(&flood.CapacityPerSecond, "capacity", 0, "the capacity a second, if known (default: measured)")
	f.IntVar(&flood.CapacityMs, "capacity-ms", flood.CapacityMs, "how long the capacity is measured")
	f.Float64Var(&flood.MaxRSSMiB, "max-rss-mib", 0, "memory that the server must stay below; 0 does not check")
	return cmd
}

func idleCommand() *cobra.Command {
	l := &loadFlags{cfg: load.Default()}
	l.cfg.Connections, l.cfg.Idle = 0, 1000
	maxKiB := 0.0
	cmd := &cobra.Command{
		Use:   "idle --url ws://127.0.0.1:PORT --pid PID",
		Short: "Memory of an idle authenticated connection",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := l.config(cmd.Flags())
			if err != nil {
				return err
			}
			if cfg.PID == 0 {
				return fmt.Errorf("bench idle: --pid is needed, the server's memory is what is measured")
			}
			res, err := load.Run(cmd.Context(), cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := show(cmd, res, l.json); err != nil {
				return err
			}
			if maxKiB > 0 && (res.Idle.BytesPerConnection > maxKiB*1024 || res.Idle.Dropped > 0) {
				return ErrBroken
			}
			return nil
		},
	}
	l.target(cmd.Flags())
	l.idle(cmd.Flags())
	cmd.Flags().Float64Var(&maxKiB, "max-kib", 0, "fail above that many KiB a connection, or if one is dropped")
	return cmd
}

func soakCommand() *cobra.Command {
	l, soak := &loadFlags{cfg: load.Default()}, load.DefaultSoak()
	l.cfg.DurationMs, l.cfg.RatePerSecond, l.cfg.Mix = 600_000, 500, "health=4,system-presence=2,chat.inject=1,sessions.list=1"
	cmd := &cobra.Command{
		Use:   "soak --url ws://127.0.0.1:PORT --pid PID",
		Short: "A long even load; fails if memory or descriptors grow, or anything is lost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := l.config(cmd.Flags())
			if err != nil {
				return err
			}
			if err := soak.Validate(); err != nil {
				return err
			}
			res, err := load.Run(cmd.Context(), cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := show(cmd, res, l.json); err != nil {
				return err
			}
			broken := soak.Judge(res)
			for _, b := range broken {
				fmt.Fprintln(cmd.OutOrStdout(), "BROKEN ", b)
			}
			if len(broken) > 0 {
				return ErrBroken
			}
			return nil
		},
	}
	l.target(cmd.Flags())
	l.load(cmd.Flags())
	cmd.Flags().Float64Var(&soak.MaxGrowthMiBPerHour, "max-growth", soak.MaxGrowthMiBPerHour, "MiB an hour that memory may grow")
	cmd.Flags().IntVar(&soak.MaxFDGrowth, "max-fd-growth", soak.MaxFDGrowth, "descriptors that may stay open")
	return cmd
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
