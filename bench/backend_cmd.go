package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"sluice/bench/backend"

	"github.com/spf13/cobra"
)

func sinkCommand() *cobra.Command {
	listen, remote := "127.0.0.1:4318", false
	cmd := &cobra.Command{
		Use:     "otlp-sink",
		Short:   "An OTLP/HTTP collector that counts spans and forgets them",
		Example: "  sluice bench otlp-sink & OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 sluice serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &backend.Sink{}
			if err := serveBackend(cmd, listen, remote, "OTLP sink", s); err != nil {
				return err
			}
			n := s.Stats()
			fmt.Fprintf(cmd.OutOrStdout(), "%d spans in %d exports, %d bytes, %d exports broken\n", n.Spans, n.Requests, n.Bytes, n.Broken)
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", listen, "address")
	cmd.Flags().BoolVar(&remote, "allow-remote", false, "permit an address that is not loopback")
	return cmd
}

func modelCommand() *cobra.Command {
	m, listen, remote := &backend.Model{Chunks: 20, Pause: 100 * time.Millisecond}, "127.0.0.1:18791", false
	cmd := &cobra.Command{
		Use:     "model",
		Short:   "An OpenAI-compatible model endpoint that streams fixed words slowly",
		Example: "  sluice bench model --pause 500ms & SLUICE_AGENT_MODEL_BASE_URL=http://127.0.0.1:18791/v1 SLUICE_AGENT_MODEL_NAME=bench sluice serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.Validate(); err != nil {
				return err
			}
			if err := serveBackend(cmd, listen, remote, "model", m); err != nil {
				return err
			}
			begun, cut := m.Calls()
			fmt.Fprintf(cmd.OutOrStdout(), "%d calls, %d cut short by the caller\n", begun, cut)
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", listen, "address")
	cmd.Flags().BoolVar(&remote, "allow-remote", false, "permit an address that is not loopback")
	cmd.Flags().IntVar(&m.Chunks, "chunks", m.Chunks, "streamed pieces of an answer")
	cmd.Flags().DurationVar(&m.Pause, "pause", m.Pause, "time before each")
	return cmd
}

// serveBackend runs h until the command's context ends.
func serveBackend(cmd *cobra.Command, listen string, remote bool, what string, h http.Handler) error {
	if err := loopback(listen, remote); err != nil {
		return err
	}
	ln, err := listenOn(cmd.Context(), listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s on http://%s, pid %d\n", what, ln.Addr(), os.Getpid())
	return backend.Serve(cmd.Context(), ln, h)
}

func listenOn(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bench: %w; choose another address with --listen", err)
	}
	return ln, nil
}
