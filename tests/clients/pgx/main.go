// What Grafana's PostgreSQL data source sends, by its own driver. Usage: grafana PORT. Reads one JSON object from standard
// input, {"simple": [sql, ...], "extended": [sql, ...]}, and prints one: the rows, or the error, of each statement.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type question struct {
	Simple   []string `json:"simple"`
	Extended []string `json:"extended"`
}

type answer struct {
	Columns []string `json:"columns,omitempty"`
	Types   []string `json:"types,omitempty"`
	Rows    [][]any  `json:"rows"`
	Error   string   `json:"error,omitempty"`
}

func fail(err error) answer {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return answer{Error: pg.Code + " " + pg.Message}
	}
	return answer{Error: err.Error()}
}

// extended asks by the extended protocol, with binary results.
func extended(ctx context.Context, conn *pgx.Conn, sql string) answer {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	found := answer{Rows: [][]any{}}
	for _, field := range rows.FieldDescriptions() {
		found.Columns = append(found.Columns, field.Name)
		kind, known := conn.TypeMap().TypeForOID(field.DataTypeOID)
		if !known {
			return answer{Error: fmt.Sprintf("no type has the number %d", field.DataTypeOID)}
		}
		found.Types = append(found.Types, kind.Name)
	}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return fail(err)
		}
		found.Rows = append(found.Rows, values)
	}
	if rows.Err() != nil {
		return fail(rows.Err())
	}
	return found
}

// simple asks by the simple protocol, with text results.
func simple(ctx context.Context, conn *pgx.Conn, sql string) answer {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return fail(err)
	}
	found := answer{Rows: [][]any{}}
	for _, result := range results {
		found.Columns = nil
		for _, field := range result.FieldDescriptions {
			found.Columns = append(found.Columns, field.Name)
		}
		for _, row := range result.Rows {
			var values []any
			for _, value := range row {
				if value == nil {
					values = append(values, nil)
				} else {
					values = append(values, string(value))
				}
			}
			found.Rows = append(found.Rows, values)
		}
	}
	return found
}

func main() {
	ctx := context.Background()
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	conn, err := pgx.Connect(ctx, "host=127.0.0.1 user=anyone database=whence sslmode=disable port="+os.Args[1])
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	given := map[string][]answer{"simple": {}, "extended": {}}
	for _, sql := range asked.Simple {
		given["simple"] = append(given["simple"], simple(ctx, conn, sql))
	}
	for _, sql := range asked.Extended {
		given["extended"] = append(given["extended"], extended(ctx, conn, sql))
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		panic(err)
	}
}
