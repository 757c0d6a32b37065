// Checks what this crate produced with the Go project's own transparency log packages, which share no code with it.
//
// It reads one JSON object from standard input. Exit status 0: all of it holds. 1: refused, with the reason on standard output. 2: the input itself
// could not be read.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	Key         string            `json:"key"`
	Checkpoint  string            `json:"checkpoint"`
	Leaves      [][]byte          `json:"leaves"`
	Index       int64             `json:"index"`
	Inclusion   []tlog.Hash       `json:"inclusion"`
	OldSize     int64             `json:"old_size"`
	OldRoot     tlog.Hash         `json:"old_root"`
	Consistency []tlog.Hash       `json:"consistency"`
	Tiles       map[string][]byte `json:"tiles"`
}

func main() {
	var in input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		fmt.Println("input:", err)
		os.Exit(2)
	}
	if err := check(&in); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func check(in *input) error {
	size, root, err := openCheckpoint(in.Key, in.Checkpoint)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if in.Index < 0 || in.Index >= int64(len(in.Leaves)) {
		return fmt.Errorf("inclusion: no such leaf")
	}
	leaf := tlog.RecordHash(in.Leaves[in.Index])
	if err := tlog.CheckRecord(in.Inclusion, size, root, in.Index, leaf); err != nil {
		return fmt.Errorf("inclusion: %w", err)
	}
	if err := tlog.CheckTree(in.Consistency, size, root, in.OldSize, in.OldRoot); err != nil {
		return fmt.Errorf("consistency: %w", err)
	}
	return rebuild(in, size, root)
}

func openCheckpoint(key, text string) (int64, tlog.Hash, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return 0, tlog.Hash{}, fmt.Errorf("not an origin, a size and a root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return size, root, err
}

// rebuild makes tree, proofs and tiles from the leaves alone and compares them.
func rebuild(in *input, size int64, root tlog.Hash) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = stored[index]
		}
		return hashes, nil
	})
	for i, leaf := range in.Leaves {
		hashes, err := tlog.StoredHashes(int64(i), leaf, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	if size != int64(len(in.Leaves)) {
		return fmt.Errorf("rebuilt: %d leaves in a tree of %d", len(in.Leaves), size)
	}
	rebuilt, err := tlog.TreeHash(size, reader)
	if err != nil || rebuilt != root {
		return fmt.Errorf("rebuilt: another root: %v", err)
	}
	inclusion, err := tlog.ProveRecord(size, in.Index, reader)
	if err != nil || fmt.Sprint(inclusion) != fmt.Sprint(tlog.RecordProof(in.Inclusion)) {
		return fmt.Errorf("rebuilt: another inclusion proof: %v", err)
	}
	consistency, err := tlog.ProveTree(size, in.OldSize, reader)
	if err != nil || fmt.Sprint(consistency) != fmt.Sprint(tlog.TreeProof(in.Consistency)) {
		return fmt.Errorf("rebuilt: another consistency proof: %v", err)
	}
	// Versions of the package differ in whether narrower versions of a partial tile are listed too; the widest one is what counts.
	widest := map[string]tlog.Tile{}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		place := fmt.Sprint(tile.L, "/", tile.N)
		if tile.W >= widest[place].W {
			widest[place] = tile
		}
	}
	if len(widest) != len(in.Tiles) {
		return fmt.Errorf("rebuilt: %d tiles instead of %d", len(in.Tiles), len(widest))
	}
	for _, tile := range widest {
		data, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return err
		}
		// The checksum database names the height in the path, tlog-tiles does not.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		if !bytes.Equal(in.Tiles[path], data) {
			return fmt.Errorf("rebuilt: tile %s differs", path)
		}
	}
	return nil
}
