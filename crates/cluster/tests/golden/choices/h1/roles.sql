600 postgres
-- Written by `shanraq cluster render` from cluster.toml: change that file, not this one.
create role shanraq_owner login nosuperuser nocreatedb nocreaterole noreplication
    connection limit 20 password 'SCRAM-SHA-256$4096:TV6FLAlqwW+HaJQ+5/C7nQ==$rxLwJHKnW0Zh3bEs/t32gao1Do/Tn2wXGksyd3uv6e8=:bvDL5PRWXtdZvMlRXxC7++dNJbrBPAHVFwX1ExLESmE=';
create role shanraq_writer login nosuperuser nocreatedb nocreaterole noreplication
    connection limit 40 password 'SCRAM-SHA-256$4096:/JQQZ3UrW9Uol+VEREF3PQ==$mbRls6+Yo31vFRFqz+GqdX09iDFLz1dUkX/OViErHXw=:RlciG2+R77qr38QsnsCKqqNt8J4C8tbOVmBOFyajqQ4=';
create role shanraq_reader login nosuperuser nocreatedb nocreaterole noreplication
    connection limit 100 password 'SCRAM-SHA-256$4096:zW1ReGkeTLP83ydR0l1NpQ==$QZou1cVbjzoTgQzc7bd6nc87n72574HmxOf0sHODg7s=:s5xaw6YfGUFd4iy7oYNyxVH7HXnTswqYNQL/Wm2YkTI=';
create role shanraq_projector login nosuperuser nocreatedb nocreaterole noreplication
    connection limit 40 password 'SCRAM-SHA-256$4096:/upNRQvaoOUo1L3VhWz9og==$iGQsbyv53uwszxlJKSX20hwhrh7OCwX0rQfprWpSAFQ=:Y6jROEII19t9hFEgEfJk35zFg5uUQGprQpeDus+riIE=';
create role shanraq_fence login nosuperuser nocreatedb nocreaterole noreplication
    connection limit 10 password 'SCRAM-SHA-256$4096:08pL2CKmcOjzwW3eWKuSuA==$xLyl+57csnJVetQndht2fct74FaOy3UcNQG5PfAuXEg=:lH/b+rcnYkil9t/IU8OYD5QX9zJUWZvkQsH0gs1o3JM=';
create role shanraq_projection nologin;
create role shanraq_projection_reader nologin;
grant shanraq_projection_reader to shanraq_projection, shanraq_reader;
grant shanraq_reader, pg_read_all_stats to shanraq_projection;
grant shanraq_projection to shanraq_projector;
grant pg_read_all_stats to shanraq_writer;
grant shanraq_reader to shanraq_writer;
grant pg_read_all_stats to shanraq_fence;
grant alter system on parameter primary_conninfo, primary_slot_name to shanraq_fence;
grant execute on function pg_reload_conf() to shanraq_fence;
create database shanraq owner shanraq_owner template template0 encoding 'UTF8' locale 'C.UTF-8';
revoke all on database shanraq from public;
grant connect on database shanraq to shanraq_writer, shanraq_reader, shanraq_projector;
\connect shanraq
alter schema public owner to shanraq_owner;
revoke all on schema public from public;
grant usage on schema public to shanraq_writer, shanraq_reader;
