// Runc-wrapper runs runc.real beside it after removing a negative OOM score adjustment from the
// container's specification: setting one requires CAP_SYS_RESOURCE, which this machine may lack.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const real = "/usr/bin/runc.real"

type object = map[string]json.RawMessage

func main() {
	for i, argument := range os.Args[:len(os.Args)-1] {
		value := os.Args[i+1]
		switch argument {
		case "--bundle", "-b":
			edit(filepath.Join(value, "config.json"), func(spec object) bool {
				process := object{}
				if json.Unmarshal(spec["process"], &process) != nil || !dropNegativeScore(process) {
					return false
				}
				spec["process"], _ = json.Marshal(process)
				return true
			})
		case "--process", "-p":
			edit(value, dropNegativeScore)
		}
	}
	err := syscall.Exec(real, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "runc-wrapper: %s: %v\n", real, err)
	os.Exit(127)
}

func dropNegativeScore(process object) bool {
	var score int
	if json.Unmarshal(process["oomScoreAdj"], &score) != nil || score >= 0 {
		return false
	}
	delete(process, "oomScoreAdj")
	return true
}

// edit rewrites a JSON file if change reports a change; runc itself reports a file it cannot read.
func edit(file string, change func(object) bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return
	}
	whole := object{}
	if json.Unmarshal(content, &whole) != nil || !change(whole) {
		return
	}
	if edited, err := json.Marshal(whole); err == nil {
		_ = os.WriteFile(file, edited, 0o600)
	}
}
