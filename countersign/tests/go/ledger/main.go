// Reads the log of a running server with the Go project's own transparency log packages, which share no code with it.
//
// Usage: main URL VKEY, where URL ends with /ledger. Exit status 0: checkpoint, every tile, every entry and its inclusion proof hold, and so do
// consistency proofs from older sizes. 1: refused, with the reason on standard output. 2: wrong usage.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if len(os.Args) != 3 {
		fmt.Println("usage: main URL VKEY")
		os.Exit(2)
	}
	told, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("ok:", told)
}

func check(url, key string) (string, error) {
	tree, err := checkpoint(url, key)
	if err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	// The reader checks each tile against the signed root before anything is taken from it.
	reader := tlog.TileHashReader(tree, &tiles{url: url})
	entries, err := entries(url, tree.N)
	if err != nil {
		return "", fmt.Errorf("entries: %w", err)
	}
	for i, entry := range entries {
		index := int64(i)
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return "", fmt.Errorf("inclusion of %d: %w", i, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
			return "", fmt.Errorf("inclusion of %d: %w", i, err)
		}
	}
	for _, old := range []int64{1, tree.N / 2, tree.N - 1, tree.N} {
		root, err := tlog.TreeHash(old, reader)
		if err != nil {
			return "", fmt.Errorf("root of %d: %w", old, err)
		}
		proof, err := tlog.ProveTree(tree.N, old, reader)
		if err != nil {
			return "", fmt.Errorf("consistency from %d: %w", old, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, root); err != nil {
			return "", fmt.Errorf("consistency from %d: %w", old, err)
		}
	}
	return fmt.Sprintf("%d entries, each with its inclusion proof", len(entries)), nil
}

func checkpoint(url, key string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	text, err := get(url + "/checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("not an origin, a size and a root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

type tiles struct {
	url   string
	saved map[tlog.Tile][]byte
}

func (t *tiles) Height() int { return height }

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, ok := t.saved[tile]
		if !ok {
			// The checksum database names the height in the path, tlog-tiles does not.
			var err error
			data, err = get(t.url + "/" + strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
			if err != nil {
				return nil, err
			}
		}
		all = append(all, data)
	}
	return all, nil
}

// SaveTiles is told of tiles that were found to be right.
func (t *tiles) SaveTiles(found []tlog.Tile, data [][]byte) {
	if t.saved == nil {
		t.saved = map[tlog.Tile][]byte{}
	}
	for i, tile := range found {
		t.saved[tile] = data[i]
	}
}

// entries reads all bundles: each entry with its length before it, in two bytes.
func entries(url string, size int64) ([][]byte, error) {
	var all [][]byte
	for first := int64(0); first < size; first += 1 << height {
		tile := tlog.Tile{H: height, L: -1, N: first >> height, W: int(min(size-first, 1<<height))}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
		data, err := get(url + "/" + path)
		if err != nil {
			return nil, err
		}
		for n := 0; n < tile.W; n++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s ends within an entry", path)
			}
			length := int(binary.BigEndian.Uint16(data))
			all, data = append(all, data[2:2+length]), data[2+length:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("%s holds more than it should", path)
		}
	}
	return all, nil
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}
