package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/encoding/unicode"
)

const (
	// maxScanFile bounds a file that is read as a whole; files of lines have no bound.
	maxScanFile = 16 << 20
	// maxScanFiles bounds one folder; sniffBytes are looked at to tell what a file is.
	maxScanFiles = 100_000
	sniffBytes   = scanInBytes
)

// input judges one argument. What cannot be read is reported; the others are judged.
func (s *scanner) input(ctx context.Context, arg string) error {
	if arg == "-" {
		return s.lines(ctx, newStream("stdin", s.in, s.out.Flush))
	}
	info, err := os.Stat(arg)
	switch {
	case err != nil:
		s.complain(arg, "%v", withoutPath(err))
		return nil
	case info.IsDir():
		return s.folder(ctx, arg)
	}
	return s.file(ctx, arg, true)
}

// withoutPath is the reason alone: the complaint names the file.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// skippedFolders hold what others wrote about the files, not what an assistant reads.
var skippedFolders = []string{".git", ".hg", ".svn"}

// folder judges every file below dir, in the order of their names.
func (s *scanner) folder(ctx context.Context, dir string) error {
	files := 0
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.complain(path, "%v", withoutPath(err))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() && path != dir && slices.Contains(skippedFolders, d.Name()):
			s.summary.skip("version control", path)
			return fs.SkipDir
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			s.summary.skip("link", path)
			return nil
		case !d.Type().IsRegular():
			s.summary.skip("no regular file", path)
			return nil
		}
		if files++; files > maxScanFiles {
			s.complain(dir, "more than %d files; the rest is not judged: scan its folders one by one", maxScanFiles)
			return fs.SkipAll
		}
		return s.file(ctx, path, false)
	})
}

// file judges one file by what it is. One that was named and is not fit to be judged is
// reported, one that was met in a folder is skipped.
func (s *scanner) file(ctx context.Context, path string, named bool) error {
	f, err := os.Open(path)
	if err != nil {
		s.complain(path, "%v", withoutPath(err))
		return nil
	}
	defer f.Close()
	s.summary.files++
	in, head, err := s.open(path, f)
	if err != nil {
		s.complain(path, "%v", withoutPath(err))
		return nil
	}
	as := s.opt.as
	if as == "" {
		as = formOf(path, head)
	}
	switch as {
	case asLines:
		return s.lines(ctx, in)
	case asTranscript:
		if !wholeJSON(path) {
			return s.lines(ctx, in)
		}
	case "":
		return s.unfit(path, named, "not text", "it is not text")
	}
	text, err := io.ReadAll(io.LimitReader(in.in, maxScanFile+1))
	switch {
	case err != nil:
		s.complain(path, "%v", withoutPath(err))
		return nil
	case len(text) > maxScanFile:
		return s.unfit(path, named, "too large", fmt.Sprintf("it is larger than %d MiB; split it", maxScanFile>>20))
	}
	text = bytes.TrimPrefix(text, utf8Mark)
	switch {
	case as == asScript:
		return s.script(ctx, in.name, text)
	case as == asTranscript, as == asDocument && wholeJSON(path):
		if done, err := s.wholeTranscript(ctx, in, text); done || err != nil {
			return err
		}
		if as == asTranscript {
			s.complain(path, `it holds no messages: neither {"messages":[…]} nor a list of them`)
			return nil
		}
	}
	return s.document(ctx, in.name, text)
}

// open returns the file as UTF-8, with its beginning. UTF-16 with a mark is what Windows
// writes scripts in.
func (s *scanner) open(path string, f *os.File) (in *stream, head []byte, err error) {
	in = newStream(filepath.ToSlash(path), f, s.out.Flush)
	mark, err := in.in.Peek(2)
	if string(mark) == "\xff\xfe" || string(mark) == "\xfe\xff" {
		in = newStream(in.name, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(in.in), s.out.Flush)
	}
	if err == nil || err == io.EOF {
		head, err = in.in.Peek(sniffBytes)
	}
	if err == io.EOF {
		err = nil
	}
	return in, head, err
}

func (s *scanner) unfit(path string, named bool, what, why string) error {
	if named {
		s.complain(path, "%s", why)
	} else {
		s.summary.skip(what, path)
	}
	return nil
}

// formOf tells what a file is by its name and its beginning; empty for what is not text.
func formOf(path string, head []byte) string {
	name := strings.ToLower(filepath.Base(path))
	switch ext := filepath.Ext(name); {
	case bytes.IndexByte(head, 0) >= 0:
		return ""
	case ext == ".jsonl" || ext == ".ndjson":
		return asLines
	case slices.Contains(scriptEnds, ext), makefile(name), shebang(head):
		return asScript
	case jsonLines(head):
		return asLines
	}
	return asDocument
}

// wholeJSON: the file is one JSON value, by its name.
func wholeJSON(path string) bool { return strings.EqualFold(filepath.Ext(path), ".json") }

var scriptEnds = []string{".sh", ".bash", ".zsh", ".ksh", ".ps1", ".psm1", ".bat", ".cmd"}

func makefile(name string) bool {
	name = strings.ToLower(filepath.Base(name))
	return name == "makefile" || name == "gnumakefile" || strings.HasSuffix(name, ".mk")
}

// shebang reports whether a script of a shell begins here.
func shebang(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if !bytes.HasPrefix(line, []byte("#!")) {
		return false
	}
	for _, word := range strings.Fields(string(line[2:min(len(line), 256)])) {
		switch filepath.Base(word) {
		case "sh", "bash", "zsh", "ksh", "dash", "ash", "pwsh":
			return true
		}
	}
	return false
}

// jsonLines reports whether the first line is one that lines would judge.
func jsonLines(head []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(bytes.TrimPrefix(head, utf8Mark), "\r\n \t"), []byte("\n"))
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var l scanLine
	if json.Unmarshal(bytes.TrimSpace(line), &l, jsontext.AllowInvalidUTF8(true)) != nil {
		return false
	}
	return isKind(l.Text, '"') || isKind(l.Message, '{') || isKind(l.Messages, '[') || isKind(l.Role, '"') && l.Content != nil || string(l.Type) == `"session"`
}
