package bench

import (
	"fmt"
	"net"
	"os"
	"time"

	"sluice/bench/compare"
	"sluice/bench/disk"
	"sluice/bench/limit"
	"sluice/bench/load"
	"sluice/bench/report"

	"github.com/spf13/cobra"
)

func limitCommand() *cobra.Command {
	cfg, listen, remote := limit.Default(), "127.0.0.1:18790", false
	cmd := &cobra.Command{
		Use:   "limit",
		Short: "A server that does the least a gateway can: the floor that figures are compared with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := loopback(listen, remote); err != nil {
				return err
			}
			s, err := limit.New(cfg)
			if err != nil {
				return err
			}
			var lc net.ListenConfig
			ln, err := lc.Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("bench limit: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "limit server on ws://%s, pid %d\n", ln.Addr(), os.Getpid())
			return s.Serve(cmd.Context(), ln)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", listen, "address")
	f.BoolVar(&remote, "allow-remote", false, "permit an address that is not loopback")
	f.IntVar(&cfg.MaxConnections, "max-connections", cfg.MaxConnections, "connections at once")
	f.IntVar(&cfg.ReadBufferBytes, "read-buffer", cfg.ReadBufferBytes, "bytes of a connection's read buffer")
	f.BoolVar(&cfg.Coalesce, "coalesce", false, "one write for all answers of one read, instead of one each")
	return cmd
}

func fsyncCommand() *cobra.Command {
	cfg, file, duration := disk.Default(), "", 3*time.Second
	cmd := &cobra.Command{
		Use:   "fsync --dir DIR",
		Short: "The disk's own durable appends a second, alone and grouped",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.DurationMs = int(duration / time.Millisecond)
			res, err := disk.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return show(cmd, res, file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", ".", "folder on the disk to measure")
	f.IntVar(&cfg.RecordBytes, "size", cfg.RecordBytes, "bytes of a record")
	f.IntVar(&cfg.Writers, "writers", cfg.Writers, "writers of the grouped way")
	f.IntVar(&cfg.MaxBatch, "batch", cfg.MaxBatch, "records that one fsync takes at most")
	f.DurationVarP(&duration, "duration", "d", duration, "time of each way")
	f.StringVar(&file, "json", "", "write the result to this file; - is standard output")
	return cmd
}

func compareCommand() *cobra.Command {
	l := &loadFlags{cfg: load.Default()}
	l.cfg.DurationMs = 5000
	var targets, scenarios, requirements []string
	cfg := compare.Config{Rounds: 3}
	page := ""
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Several gateways side by side in interleaved rounds: medians, ratios, assertions",
		Long: "Targets are name=ws://127.0.0.1:PORT[,pid=N][,token=T][,device=FILE], name=@serve, name=@limit,\n" +
			"name=@openclaw:NODE_MODULES or name=exec:COMMAND with {port}, {token} and {state} in it. Ratios are to the target named limit (or --reference);\n" +
			"requirements are about the first target: health.cpu_ratio<=2.0, health.cpu_ratio@openclaw<=0.01, health.p99<=50.",
		Example: "  sluice bench compare --target sluice=@serve --target limit=@limit \\\n" +
			"    --target openclaw=ws://127.0.0.1:18801,pid=4711,token=T --scenario health --scenario system-presence \\\n" +
			"    --require 'health.cpu_ratio<=2.0' --json compare.json --html compare.html",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := l.config(cmd.Flags())
			if err != nil {
				return err
			}
			if err := parseCompare(&cfg, base, targets, scenarios, requirements); err != nil {
				return err
			}
			res, err := compare.Run(cmd.Context(), cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := show(cmd, res, l.json); err != nil {
				return err
			}
			if page != "" {
				if err := writePage(page, res); err != nil {
					return err
				}
			}
			if !res.Held() {
				return ErrBroken
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&targets, "target", "t", []string{"sluice=@serve", "limit=@limit"}, "a gateway to measure; the first is the subject")
	f.StringArrayVarP(&scenarios, "scenario", "s", []string{"health", "system-presence"}, "a method, or name:mix=..;connections=N;inflight=N;rate=R;seconds=S")
	f.StringArrayVarP(&requirements, "require", "r", nil, "what must hold, e.g. health.cpu_ratio<=2.0")
	f.StringVar(&cfg.Reference, "reference", "", "the target that ratios are taken to")
	f.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "rounds of each scenario on each target")
	f.IntVarP(&l.cfg.Connections, "connections", "c", l.cfg.Connections, "connections")
	f.IntVarP(&l.cfg.InFlight, "in-flight", "n", l.cfg.InFlight, "requests in flight on each")
	f.DurationVarP(&l.duration, "duration", "d", ms(l.cfg.DurationMs), "time of one measurement")
	f.DurationVar(&l.warmup, "warmup", ms(l.cfg.WarmupMs), "load before it, not counted")
	f.DurationVar(&l.drain, "drain", ms(l.cfg.DrainMs), "wait for answers after it")
	f.StringVar(&l.json, "json", "", "write the result to this file; - is standard output")
	f.StringVar(&page, "html", "", "write the report to this file")
	return cmd
}

func parseCompare(cfg *compare.Config, base load.Config, targets, scenarios, requirements []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench compare: this program's own path: %w", err)
	}
	for _, text := range targets {
		t, err := compare.ParseTarget(text, self)
		if err != nil {
			return err
		}
		cfg.Targets = append(cfg.Targets, t)
	}
	for _, text := range scenarios {
		s, err := compare.ParseScenario(text, base)
		if err != nil {
			return err
		}
		cfg.Scenarios = append(cfg.Scenarios, s)
	}
	for _, text := range requirements {
		r, err := compare.ParseRequirement(text)
		if err != nil {
			return err
		}
		cfg.Requirements = append(cfg.Requirements, r)
	}
	return nil
}

func writePage(file string, res *compare.Result) error {
	b, err := report.Encode(res)
	if err != nil {
		return err
	}
	return writeReport(file, []report.Input{{Name: file, JSON: b}})
}

// maxResultBytes bounds a results file; a comparison of days has a few MiB.
const maxResultBytes = 64 << 20

func reportCommand() *cobra.Command {
	out := "report.html"
	cmd := &cobra.Command{
		Use:   "report RESULT.json...",
		Short: "One HTML page of results: ratios, latency curves, time series",
		Args:  cobra.RangeArgs(1, 64),
		RunE: func(cmd *cobra.Command, files []string) error {
			var inputs []report.Input
			for _, f := range files {
				st, err := os.Stat(f)
				if err != nil {
					return fmt.Errorf("bench report: %w", err)
				}
				if st.Size() > maxResultBytes {
					return fmt.Errorf("bench report: %s has %d bytes, more than %d", f, st.Size(), maxResultBytes)
				}
				b, err := os.ReadFile(f)
				if err != nil {
					return fmt.Errorf("bench report: %w", err)
				}
				inputs = append(inputs, report.Input{Name: f, JSON: b})
			}
			return writeReport(out, inputs)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", out, "the page")
	return cmd
}

func writeReport(file string, inputs []report.Input, verdicts ...compare.Verdict) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("bench report: %w", err)
	}
	if err := report.Write(f, inputs, time.Now(), verdicts...); err != nil {
		_ = f.Close()
		_ = os.Remove(file)
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("bench report: %w", err)
	}
	return nil
}
