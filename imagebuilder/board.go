package main

import (
	"io"
	"sync"

	"picluster/imagebuilder/card"
	"picluster/internal/cli"
)

// board shows several cards as one: all of them are written until the last one is.
type board struct {
	mu       sync.Mutex
	progress *cli.Progress
	cards    []cardState
}

type cardState struct {
	stage       string
	done, total int64
}

func newBoard(w io.Writer, cards int) *board {
	return &board{progress: cli.NewProgress(w), cards: make([]cardState, cards)}
}

// show returns what card number i is to tell about its progress.
func (b *board) show(i int) func(stage string, done, total int64) {
	return func(stage string, done, total int64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.cards[i] = cardState{stage, done, total}
		var sum cardState
		for _, c := range b.cards {
			if c.stage != card.StageVerify {
				sum.stage = card.StageWrite
			}
		}
		if sum.stage == "" {
			sum.stage = card.StageVerify
		}
		for _, c := range b.cards {
			sum.total += c.total
			if c.stage == sum.stage {
				sum.done += c.done
			} else if c.stage == card.StageVerify {
				sum.done += c.total
			}
		}
		b.progress.Show(sum.stage, sum.done, sum.total)
	}
}

func (b *board) done() { b.progress.Done() }
