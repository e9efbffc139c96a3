package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

// ErrBroken is what a command returns when it measured, printed its results, and
// something that was required did not hold.
var ErrBroken = errors.New("bench: what was required did not hold (see above)")

// Command returns `bench` with its subcommands. It holds no state; each call makes a
// new tree.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a gateway: load, flood, soak, memory, comparison, report",
		Long: "Measures any gateway of this protocol over its WebSocket, on this machine unless --allow-remote is given.\n" +
			"docs/bench.md says how every published figure was made.",
		SilenceUsage: true,
	}
	cmd.AddCommand(loadCommand(), floodCommand(), idleCommand(), soakCommand(), limitCommand(), fsyncCommand(), sinkCommand(), modelCommand(), compareCommand(), reportCommand(), suiteCommand())
	return cmd
}

// table is a result that people and programs can read.
type table interface{ Table(io.Writer) error }

// show prints the table and writes the JSON file if one is asked for.
func show(cmd *cobra.Command, res table, file string) error {
	if err := res.Table(cmd.OutOrStdout()); err != nil {
		return fmt.Errorf("bench: printing: %w", err)
	}
	if file == "" {
		return nil
	}
	b, err := json.Marshal(res, jsontext.Multiline(true))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	b = append(b, '\n')
	if file == "-" {
		_, err = cmd.OutOrStdout().Write(b)
	} else {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("bench: writing the JSON result: %w", err)
	}
	return nil
}

// secret takes the value of a flag, or the first line of a file: a command line can be
// read by every user of the machine.
func secret(value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	if value != "" {
		return "", errors.New("bench: give --token or --token-file, not both")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line), nil
}

// loopback refuses to listen where others can connect.
func loopback(addr string, allow bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("bench: address %q: %w; write HOST:PORT", addr, err)
	}
	if ip := net.ParseIP(host); allow || host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("bench: %s is not loopback and this server checks nobody; use 127.0.0.1, or --allow-remote if you mean it", addr)
}
