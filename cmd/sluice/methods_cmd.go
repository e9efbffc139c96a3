package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"sluice/frames"
	"sluice/stages/dispatch"

	"github.com/spf13/cobra"
)

// The states of dispatch.View.
const (
	stateNative  = "native"
	stateRefused = "refused"
)

// tally counts methods by state.
type tally struct {
	Native  int `json:"native"`
	Refused int `json:"refused"`
	Total   int `json:"total"`
}

func (t *tally) add(state string) {
	t.Total++
	if state == stateNative {
		t.Native++
	} else {
		t.Refused++
	}
}

// methodsReport is `sluice methods --json`.
type methodsReport struct {
	// Core are the protocol's methods (those of schema96.json), Plugin those that plugins
	// add to the real gateway, Own those of Sluice alone. All count every method, whatever
	// is listed.
	Core    tally           `json:"core"`
	Plugin  tally           `json:"plugin"`
	Own     tally           `json:"own"`
	Methods []dispatch.View `json:"methods"`
}

// reportMethods counts views, which are in the order of frames.Methods, and lists those
// that keep wants.
func reportMethods(views []dispatch.View, keep func(dispatch.View) bool) methodsReport {
	r := methodsReport{Methods: []dispatch.View{}}
	for i, v := range views {
		switch {
		case i < frames.CoreMethods:
			r.Core.add(v.State)
		case i < frames.CoreMethods+frames.PluginMethods:
			r.Plugin.add(v.State)
		default:
			r.Own.add(v.State)
		}
		if keep(v) {
			r.Methods = append(r.Methods, v)
		}
	}
	return r
}

func newMethodsCommand(p *process) *cobra.Command {
	var asJSON, native, refused bool
	var family string
	cmd := &cobra.Command{
		Use:   "methods",
		Short: "List the protocol's methods and which of them this build answers",
		Long: "List every method of the protocol, and Sluice's own. A native method is answered by this build; a\n" +
			"refused one gets the error that the real gateway gives for an unknown method.",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if native && refused {
				return usage("--native and --refused exclude each other")
			}
			views, err := listMethods()
			if err != nil {
				return err
			}
			if family != "" && !slices.ContainsFunc(views, func(v dispatch.View) bool { return v.Family == family }) {
				return usage("no family %q; the families are %v", family, familiesOf(views))
			}
			r := reportMethods(views, func(v dispatch.View) bool {
				return (!native || v.State == stateNative) && (!refused || v.State == stateRefused) && (family == "" || v.Family == family)
			})
			if asJSON {
				return printJSON(p.out, r)
			}
			return r.write(p.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&native, "native", false, "only the methods that are answered")
	cmd.Flags().BoolVar(&refused, "refused", false, "only the methods that are refused")
	cmd.Flags().StringVar(&family, "family", "", "only the methods of `FAMILY`")
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func (r methodsReport) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "METHOD\tFAMILY\tSCOPE\tSTATE")
	for _, v := range r.Methods {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", v.Name, v.Family, v.Scope, v.State)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d of %d methods of the protocol are native, %d are refused; of %d methods of plugins, %d are native.\n"+
		"%d methods (family sluice) are Sluice's own: no other gateway has them.\n",
		r.Core.Native, r.Core.Total, r.Core.Refused, r.Plugin.Total, r.Plugin.Native, r.Own.Total)
	return err
}

func familiesOf(views []dispatch.View) []string {
	seen := map[string]bool{}
	var names []string
	for _, v := range views {
		if !seen[v.Family] {
			seen[v.Family] = true
			names = append(names, v.Family)
		}
	}
	slices.Sort(names)
	return names
}
