// Command porcupine judges histories of mökv with the linearizability checker porcupine, key by key.
//
//	porcupine [-expect valid|invalid] [file or directory]...
//
// A history is JSON lines, one operation a line, as src/sim/history/json.rs writes them; without
// arguments it is read from standard input. For each, it prints "valid" or "invalid" and the name.
// With -expect, a history of the other kind is an error. Each key is a register with delete, and a
// list is a read of every key; revisions and stale reads play no part.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// maxCheckTime bounds the search of one history.
const maxCheckTime = 30 * time.Second

// maxLineBytes bounds one operation; a list of every key is the longest.
const maxLineBytes = 1 << 20

// operation is one line of a history.
type operation struct {
	Client     int         `json:"client"`
	Call       string      `json:"call"`
	Key        uint16      `json:"key"`
	Value      *uint64     `json:"value"`
	InvokedUs  int64       `json:"invoked_us"`
	ReturnedUs int64       `json:"returned_us"`
	Return     string      `json:"return"`
	Listed     [][3]uint64 `json:"listed"`
}

// register is what a key holds.
type register struct {
	present bool
	value   uint64
}

// input is what is done to a key: a write of what is to be there, or a read.
type input struct {
	key   uint16
	write bool
	after register
}

func main() {
	expect := flag.String("expect", "", "the verdict that every history must have")
	flag.Parse()
	judged, failed := 0, 0
	judge := func(name string, history io.Reader) {
		verdict, err := check(history)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			failed++
			return
		}
		judged++
		if *expect == "" {
			fmt.Println(verdict, name)
		} else if verdict != *expect {
			fmt.Fprintf(os.Stderr, "%s is %s, not %s\n", name, verdict, *expect)
			failed++
		}
	}
	if flag.NArg() == 0 {
		judge("standard input", os.Stdin)
	}
	for _, root := range flag.Args() {
		if err := judgeFiles(root, judge); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	if *expect != "" {
		fmt.Printf("%d histories judged, %d of them not %s\n", judged, failed, *expect)
	}
	if failed > 0 || judged == 0 {
		os.Exit(1)
	}
}

// judgeFiles calls judge for root, or for every file below it.
func judgeFiles(root string, judge func(string, io.Reader)) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		judge(path, file)
		return nil
	})
}

// check reads a history and says whether it is valid.
func check(history io.Reader) (string, error) {
	operations, err := read(history)
	if err != nil {
		return "", err
	}
	switch porcupine.CheckOperationsTimeout(model, translate(operations), maxCheckTime) {
	case porcupine.Ok:
		return "valid", nil
	case porcupine.Illegal:
		return "invalid", nil
	default:
		return "", fmt.Errorf("not decided within %v", maxCheckTime)
	}
}

func read(history io.Reader) ([]operation, error) {
	var operations []operation
	lines := bufio.NewScanner(history)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(operations)+1, err)
		}
		operations = append(operations, op)
	}
	return operations, lines.Err()
}

// translate gives the operations on single keys that a history is made of. A write of unknown fate
// ends after all else: there it may as well never have happened.
func translate(operations []operation) []porcupine.Operation {
	keys := keysOf(operations)
	var translated []porcupine.Operation
	for _, op := range operations {
		add := func(in input, out register, returned int64) {
			translated = append(translated, porcupine.Operation{
				ClientId: op.Client, Input: in, Call: op.InvokedUs, Output: out, Return: returned,
			})
		}
		isUnknown := op.Return == "" || op.Return == "unknown"
		switch {
		case op.Return == "not_done":
		case op.Call == "set" || op.Call == "delete":
			in := input{key: op.Key, write: true, after: found(op.Value)}
			if isUnknown {
				add(in, register{}, math.MaxInt64)
			} else {
				add(in, register{}, op.ReturnedUs)
			}
		case op.Call == "get" && !isUnknown:
			add(input{key: op.Key}, found(op.Value), op.ReturnedUs)
		case op.Call == "list" && !isUnknown:
			listed := map[uint16]register{}
			for _, entry := range op.Listed {
				listed[uint16(entry[0])] = register{present: true, value: entry[1]}
			}
			for _, key := range keys {
				add(input{key: key}, listed[key], op.ReturnedUs)
			}
		}
	}
	return translated
}

// keysOf lists every key that a history names.
func keysOf(operations []operation) []uint16 {
	var keys []uint16
	for _, op := range operations {
		if op.Call != "list" {
			keys = append(keys, op.Key)
		}
		for _, entry := range op.Listed {
			keys = append(keys, uint16(entry[0]))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func found(value *uint64) register {
	if value == nil {
		return register{}
	}
	return register{present: true, value: *value}
}

// model is a register with delete for each key.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[uint16][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			byKey[key] = append(byKey[key], op)
		}
		var partitions [][]porcupine.Operation
		for _, partition := range byKey {
			partitions = append(partitions, partition)
		}
		return partitions
	},
	Init: func() interface{} { return register{} },
	Step: func(state, in, out interface{}) (bool, interface{}) {
		if in := in.(input); in.write {
			return true, in.after
		}
		return state.(register) == out.(register), state
	},
}
