package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/retrieval/kernel"
)

// contractCommand is for the language of contracts itself.
func contractCommand(sys system) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contract",
		Short: "check, compile, explain or rewrite a contract: what a program promises to show",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var btfFile, form string
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "check a contract against this kernel's types, or those of a BTF file",
		Long:  "Reads the text or the JSON form; FILE - is the standard input. The exit code is 8 if something is wrong with the contract.",
		Args:  oneContract,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContract(sys, args[0])
			if err != nil {
				return err
			}
			types, err := contractTypes(cmd.Context(), btfFile)
			if err != nil {
				return err
			}
			checked, err := contract.Check(c, types)
			if err != nil {
				return wrongContract(sys, args[0], err)
			}
			for _, r := range checked.Remarks {
				fmt.Fprintf(sys.out, "%s:%v\n", args[0], r)
			}
			fmt.Fprintf(sys.out, "%s: well formed, at %s of this kernel\n", args[0], plural(len(checked.Places), "place"))
			return nil
		},
	}
	check.Flags().StringVar(&btfFile, "btf", "", "check against the types in this `file` (raw BTF, or an ELF file with it)")
	explain := &cobra.Command{
		Use:   "explain FILE",
		Short: "say in plain words what a contract says",
		Args:  oneContract,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := readContract(sys, args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(sys.out, contract.English(c))
			return err
		},
	}
	format := &cobra.Command{
		Use:   "format FILE",
		Short: "write a contract in its text or JSON form",
		Args:  oneContract,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := readContract(sys, args[0])
			if err != nil {
				return err
			}
			out := []byte(contract.Format(c))
			switch form {
			case "text":
			case "json":
				if out, err = contract.EncodeJSON(c); err != nil {
					return err
				}
			default:
				return usageError{fmt.Errorf("no form %q: want text or json", form)}
			}
			_, err = sys.out.Write(out)
			return err
		},
	}
	format.Flags().StringVarP(&form, "output", "o", "text", "`text` or json")
	compiled := &cobra.Command{
		Use:   "compile FILE",
		Short: "write the C program of a contract",
		Long: `Writes the program that does what a contract says on this kernel, or on the one whose types are in a BTF file: C, in
kgent's conventions. Nothing is loaded. Hold it against the contract with kgent verify.

The exit code is 8 if something is wrong with the contract, and 1 if it asks for something for which
no code is known: then the program has to be written by hand.`,
		Example: `  kgent contract compile slow.kc > slow.bpf.c
  kgent verify slow.bpf.c --contract slow.kc`,
		Args: oneContract,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContract(sys, args[0])
			if err != nil {
				return err
			}
			types, err := contractTypes(cmd.Context(), btfFile)
			if err != nil {
				return err
			}
			checked, err := contract.Check(c, types)
			if err != nil {
				return wrongContract(sys, args[0], err)
			}
			source, err := codegen.C(checked)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			_, err = io.WriteString(sys.out, source)
			return err
		},
	}
	compiled.Flags().StringVar(&btfFile, "btf", "", "write it for the types in this `file` (raw BTF, or an ELF file with it)")
	schema := &cobra.Command{
		Use:   "schema",
		Short: "write the JSON schema of contracts, for strict structured output",
		Args:  noCommand,
		RunE:  func(*cobra.Command, []string) error { _, err := sys.out.Write(contract.Schema()); return err },
	}
	guide := &cobra.Command{
		Use:   "guide",
		Short: "show how what people ask for is written in a contract",
		Args:  noCommand,
		RunE:  func(*cobra.Command, []string) error { _, err := io.WriteString(sys.out, contract.Guide()); return err },
	}
	cmd.AddCommand(check, compiled, explain, format, schema, guide)
	return cmd
}

func oneContract(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("want one file with a contract; got %d arguments", len(args))}
	}
	return nil
}

// readContract reads either form; JSON begins with a brace.
func readContract(sys system, file string) (*contract.Contract, error) {
	const most = 1 << 20
	in := sys.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("reading the contract: %w", err)}
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the contract: %w", err)}
	}
	var c *contract.Contract
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		c, err = contract.DecodeJSON(data)
	} else {
		c, err = contract.Parse(string(data))
	}
	if err != nil {
		return nil, wrongContract(sys, file, err)
	}
	return c, nil
}

// wrongContract says what is wrong with a contract, a line each, as compilers do.
func wrongContract(sys system, file string, err error) error {
	var list contract.Errors
	if !errors.As(err, &list) {
		return err
	}
	for _, e := range list {
		fmt.Fprintf(sys.err, "%s:%s\n", harmless(errors.New(file)), harmless(e))
	}
	return exitError(exitUnsound)
}

func contractTypes(ctx context.Context, btfFile string) (*contract.Types, error) {
	if btfFile != "" {
		spec, _, err := readBTF(btfFile)
		if err != nil {
			return nil, usageError{err}
		}
		return contract.NewTypes(contract.FromBTF(spec))
	}
	if err := kernel.EnsureMounts(ctx); err != nil {
		return nil, fmt.Errorf("reading this kernel's tracepoints: %w", err)
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return nil, err
	}
	return contract.NewTypes(facts)
}

// plural counts things: 1 place, 2 places.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
